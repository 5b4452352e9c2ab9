"""The examples of docs/frontends.md run, and its numbers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tinykit.config import parse_config
from tinykit.frontend import AudioFrontend

PAGE = Path(__file__).resolve().parents[2] / "docs" / "frontends.md"


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)
    assert names["features"].shape == (98, 40)
    assert names["inputs"].shape == (14, 128, 3)
    assert {p.name for p in tmp_path.iterdir()} == {"voice.h", "voice.c", "wrist.h", "wrist.c"}


def test_tables_of_the_projects_file_are_valid() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    kinds = [parse_config(block).frontend.kind for block in blocks]
    assert kinds == ["audio", "motion", "audio"]


def test_memory_is_stated() -> None:
    frontend, page = AudioFrontend(), PAGE.read_text()
    assert f"flash ({frontend.tables.bytes:,})" in page
    assert f"static memory ({frontend.ram:,})" in page
