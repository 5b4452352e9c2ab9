"""MEAN, SUM and REDUCE_MAX over any axes equal TensorFlow Lite Micro, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.goldens import tflm
from tests.support.kernels import SanitizedKernels
from tests.support.tflite_writer import Graph as File
from tests.support.tflite_writer import write
from tinykit.errors import ModelError
from tinykit.importers import load_model
from tinykit.ops.evaluate import evaluate

SHAPE = (1, 3, 4, 5)
AXES = [(1, 2), (1,), (2,), (3,), (-1, 1), (2, 3), (1, 2, 3), (1, 3), (0, 2)]
Quant = tuple[float, int]


def reduction(builtin: str, x: Quant, y: Quant, axes: tuple[int, ...], keep_dims: bool) -> bytes:
    file = File()
    source = file.tensor(SHAPE, *x)
    made = np.empty(SHAPE).sum(axis=axes, keepdims=keep_dims).shape
    names = [source, file.constant(np.array(axes, np.int32))]
    options: dict[str, float | int] = {"KeepDims": int(keep_dims)}
    file.inputs = [source]
    file.outputs = [file.operator(builtin, names, file.tensor(made, *y), options)]
    return write(file)


@pytest.mark.parametrize("builtin", ["MEAN", "SUM", "REDUCE_MAX"])
def test_reductions_equal_tflm(
    builtin: str, sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    random = np.random.default_rng(len(builtin))
    for index in range(90):
        axes, keep_dims = AXES[index % len(AXES)], index % 2 == 0
        scale, ratio = 10.0 ** random.uniform(-3, 1), 10.0 ** random.uniform(-1, 2)
        if index % 3 == 0:  # odd codes fall right between two others
            scale, ratio = float(np.float32(scale)), random.choice([2 / 3, 2, 0.4])
        zeros = [int(random.choice([-128, 127, 0, random.integers(-128, 128)])) for _ in "xy"]
        x, y = (
            (float(np.float32(s)), z) for s, z in zip((scale, scale * ratio), zeros, strict=True)
        )
        content = reduction(builtin, x, x if builtin == "REDUCE_MAX" else y, axes, keep_dims)
        (tmp_path / "model.tflite").write_bytes(content)
        graph = load_model(tmp_path / "model.tflite")
        codes = random.integers(-128, 128, SHAPE).astype(np.int8)
        golden = tflm(content, codes)
        result = evaluate(graph, {graph.inputs[0]: codes})[graph.outputs[0]]
        np.testing.assert_array_equal(result, golden, f"{axes} {x} {y}")
        if index < 20:
            np.testing.assert_array_equal(sanitized_kernels.run(graph, codes), golden, "C")


def test_largest_values_are_not_rescaled(tmp_path: Path) -> None:
    content = reduction("REDUCE_MAX", (0.1, 0), (0.2, 0), (1, 2), True)
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(ModelError, match=r"REDUCE_MAX #0 .*must have one quantization"):
        load_model(tmp_path / "model.tflite")
