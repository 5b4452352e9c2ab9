"""A project: what the file says, what flags override, and what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinykit.errors import UsageError
from tinykit.project import Project
from tinykit.session import Session


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "tinykit.toml").write_text(
        '[model]\npath = "KWS-1 ref.tflite"\n[board]\nname = "mps2-an500"\nsram = "100KB"\n'
    )
    return Project.open(tmp_path)


def test_names_come_from_the_file_or_from_the_model(project: Project, tmp_path: Path) -> None:
    assert project.name == "kws_1_ref"
    assert project.model_path == tmp_path / "KWS-1 ref.tflite"
    assert project.override(model=tmp_path / "1.tflite").name == "model_1"


def test_budgets_override_the_boards(project: Project) -> None:
    board = project.board()
    assert (board.name, board.sram, board.flash) == ("mps2_an500", 100 * 1024, 1 << 20)
    assert project.override(board="stm32f746", sram=4096).board().sram == 4096
    with pytest.raises(UsageError, match="not possible"):
        project.override(sram=1 << 30).board()


def test_flags_win_over_the_file_and_leave_the_rest(project: Project) -> None:
    changed = project.override(target="qemu", port=None, trace=False)
    assert changed.config.target.name == "qemu"
    assert changed.config.build.trace is False
    assert changed.config.board == project.config.board
    assert project.override(port="/dev/ttyACM0").config.target.name == "serial"
    assert project.override(port="socket://x:1", target="qemu").config.target.name == "qemu"
    with pytest.raises(UsageError, match="no target `qmu`"):
        project.override(target="qmu")


def test_paths_in_flags_are_relative_to_where_the_command_runs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert project.override(model=Path("a.tflite")).model_path == Path("/a.tflite")


def test_what_is_missing_is_named_with_the_way_to_get_it(project: Project) -> None:
    with pytest.raises(UsageError, match="no firmware has been built") as caught:
        _ = project.elf
    assert "tinykit build" in caught.value.hint
    with pytest.raises(UsageError, match="no update plan") as caught:
        project.required_plan()
    assert "tinykit plan --write" in caught.value.hint
    with pytest.raises(UsageError, match=r"model\.json") as caught:
        project.manifest()
    assert "tinykit build" in caught.value.hint
    with pytest.raises(UsageError, match="no split `validation`"):
        project.samples("validation")


def test_a_folder_without_a_file_is_a_project_only_where_that_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        Project.open(tmp_path)
    with pytest.raises(UsageError, match="no model given"):
        _ = Project.open(tmp_path, required=False).model_path


class CountingClient:
    """A client that counts what a session asks of it."""

    def __init__(self) -> None:
        self.labels: list[int] = []
        self.applied = 0

    def train(self, sample: np.ndarray, label: int) -> object:
        self.labels.append(label)
        return type(
            "Step", (), {"prediction": 0, "loss": 1.0, "saturations": 0, "skipped": 0, "updated": 0}
        )()

    def apply(self) -> None:
        self.applied += 1


def test_epochs_repeat_the_samples_in_order_and_close_the_accumulation(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2), np.int8), y=[2, 0, 1])
    project = Project.open(tmp_path, required=False)
    port = type("Port", (), {"shape": (1, 2), "scale": 1.0, "zero_point": 0})()
    client = CountingClient()
    session = Session(client, type("Manifest", (), {"input": port})())  # type: ignore[arg-type]
    seen: list[tuple[int, int]] = []
    samples = project.samples("train", tmp_path / "a.npz")
    steps = session.train(
        samples, epochs=2, progress=lambda done, total: seen.append((done, total))
    )
    assert client.labels == [2, 0, 1, 2, 0, 1]
    assert [step.label for step in steps] == client.labels
    assert seen[-1] == (6, 6)
    assert client.applied == 1
