"""docs/classical.md as it stands: fit, quantize, build, evaluate, verify on an emulated board."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.emulator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "classical.md"


def test_the_documented_example(tmp_path: Path) -> None:
    pytest.importorskip("skops", reason="pip install 'tinykit-mcu[sklearn]'")
    script, commands = re.findall(r"```(?:python|sh)\n(.*?)```", PAGE.read_text(), re.DOTALL)

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(PAGE.parents[1])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    run("-c", script)
    said = {}
    for line in commands.splitlines():
        verb, *rest = line.split("#")[0].split()[1:]
        said[verb] = run("-m", "tinykit", verb, *rest)
    assert re.search(r"same prediction as the float model: (9[6-9]|100)\.", said["quantize"])
    assert "0 differing bits" in said["verify"]
    accuracy = json.loads(run("-m", "tinykit", "eval", "--json"))["accuracy"]
    assert accuracy > 0.9
