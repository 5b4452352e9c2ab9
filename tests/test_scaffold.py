"""`tinykit new`: copies an example, overwrites nothing, leaves out what was built."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinykit.errors import TinykitError, UsageError
from tinykit.scaffold import examples, new_project


@pytest.fixture
def resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "resources" / "examples"
    (folder / "wave" / "build").mkdir(parents=True)
    (folder / "wave" / "tinykit.toml").write_text("[project]\nname = 'wave'\n")
    (folder / "wave" / "README.md").write_text("\n# Waves, learnt\n\nMore.\n")
    (folder / "wave" / "build" / "old.o").write_text("")
    (folder / "not_an_example").mkdir()
    monkeypatch.setattr(
        "tinykit.scaffold.resource_path", lambda name: tmp_path / "resources" / name
    )
    return folder


def test_examples_are_listed_with_their_titles(resources: Path) -> None:
    assert examples() == {"wave": "Waves, learnt"}


def test_copy_without_built_files(resources: Path, tmp_path: Path) -> None:
    made = new_project(tmp_path / "mine", "wave")
    assert [path.name for path in made] == ["README.md", "tinykit.toml"]
    (tmp_path / "empty").mkdir()
    assert new_project(tmp_path / "empty", "wave")


def test_nothing_is_overwritten(resources: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(TinykitError, match="not an empty folder"):
        new_project(tmp_path / "mine", "wave")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_unknown_examples_are_named(resources: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no example `wav`") as caught:
        new_project(tmp_path / "mine", "wav")
    assert "wave" in caught.value.hint
