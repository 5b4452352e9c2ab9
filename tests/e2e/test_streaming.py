"""Firmware of models that keep state: a published wake word, and one of two layers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.test_wake_words import model
from tests.support.streaming_models import streaming_model

pytestmark = pytest.mark.emulator


@pytest.mark.parametrize("kind", ["wake word", "small"])
def test_is_built_and_equals_the_host(kind: str, tmp_path: Path) -> None:
    """Their initial states are all alike, and not: compilers make code of either if they may."""
    content = streaming_model() if kind == "small" else model("okay_nabu").read_bytes()
    (tmp_path / "stream.tflite").write_bytes(content)
    (tmp_path / "tinykit.toml").write_text(
        '[model]\npath = "stream.tflite"\n[target]\nname = "unicorn"\n'
    )
    for verb in ("build", "verify"):
        done = subprocess.run(
            [sys.executable, "-m", "tinykit", verb, "-C", str(tmp_path)],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    assert "0 differing bits" in done.stdout
