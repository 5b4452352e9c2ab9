"""docs/models.md names every ONNX operator, and its Python does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.importers.test_onnx import samples
from tests.importers.test_onnx_models import SHAPE, exported
from tinykit.importers import load_model
from tinykit.importers.onnx_operators import CONVERTERS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_table_names_the_operators() -> None:
    rows = [row.split("|")[1] for row in PAGE.splitlines() if row.startswith("| ")]
    named = {name for row in rows[2:] for name in re.findall(r"\w+", row)}
    assert named == set(CONVERTERS)


def test_the_example(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(exported().SerializeToString())
    np.savez(tmp_path / "data.npz", x=np.moveaxis(samples(SHAPE, 16), 1, -1))
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    result = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    graph = load_model(tmp_path / "net_int8.onnx")
    assert graph[graph.inputs[0]].shape == (1, 12, 12, 3)
