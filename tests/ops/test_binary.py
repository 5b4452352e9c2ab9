"""MUL, SUB, MINIMUM … with broadcasting equal TensorFlow Lite Micro, bit for bit."""

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
from tinykit.ops.binary import OPERATORS
from tinykit.ops.evaluate import evaluate

BUILTINS = [name for op in OPERATORS for name in op.tflite]
SHAPES = [  # the other operand's, against [1, 3, 4, 5]
    (1, 3, 4, 5), (1, 1, 1, 5), (5,), (1,), (), (1, 3, 1, 1), (1, 1, 4, 1), (1, 3, 1, 5), (4, 5),
    (3, 1, 1),
]  # fmt: skip
FULL = (1, 3, 4, 5)
Quant = tuple[float, int]


def draw(random: np.random.Generator, builtin: str) -> tuple[Quant, Quant, Quant]:
    """Scales over four decades, an output that is filled, clipped or hardly used; any zeros."""
    a, b = (float(np.float32(10.0 ** random.uniform(-3, 1))) for _ in "ab")
    if random.integers(4) == 0:  # odd codes fall right between two others
        halves = {"MUL": a * b, "SQUARED_DIFFERENCE": max(a, b) ** 2}
        y = float(np.float32(halves.get(builtin, max(a, b)) / random.choice([0.5, 1.5, 2.5])))
    else:
        usual = {"MUL": 60 * a * b, "SQUARED_DIFFERENCE": 60 * max(a, b) ** 2, "PRELU": a}
        y = float(np.float32(usual.get(builtin, max(a, b)) * random.choice([0.1, 1, 1, 2, 30])))
    zeros = [int(random.choice([-128, 127, 0, random.integers(-128, 128)])) for _ in "aby"]
    if builtin in ("MINIMUM", "MAXIMUM"):
        a, b, y = a, a, a
        zeros = zeros[:1] * 3
    return (a, zeros[0]), (b, zeros[1]), (y, zeros[2])


def binary(
    builtin: str,
    quants: tuple[Quant, Quant, Quant],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    options: dict[str, float | int],
    constant: np.ndarray | None,
    swapped: bool = False,
) -> bytes:
    """One operator; without a constant both operands come from the input (b by QUANTIZE, MEAN)."""
    file = File()
    x = file.tensor(shapes[0], *quants[0])
    if constant is not None:
        other = file.constant(constant, (quants[1][0],), (quants[1][1],))
    else:
        other = file.tensor(shapes[1], *quants[1])
        if shapes[1] == shapes[0]:
            file.operator("QUANTIZE", [x], other)
        else:
            axes = [i for i, n in enumerate(shapes[1]) if n != shapes[0][i]]
            options_mean: dict[str, float | int] = {"KeepDims": 1}
            names = [x, file.constant(np.array(axes, np.int32))]
            file.operator("MEAN", names, other, options_mean)
    y = file.tensor(tuple(np.broadcast_shapes(*shapes)), *quants[2])
    pair = [other, x] if swapped else [x, other]
    file.inputs, file.outputs = [x], [file.operator(builtin, pair, y, options)]
    return write(file)


@pytest.mark.parametrize("builtin", BUILTINS)
def test_broadcasting_equals_tflm(
    builtin: str, sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    random = np.random.default_rng(BUILTINS.index(builtin))
    path = tmp_path / "model.tflite"
    for index in range(80):
        shape = SHAPES[index % len(SHAPES)]
        quants = draw(random, builtin)
        activations = builtin in ("MUL", "SUB")
        options: dict[str, float | int] = (
            {"FusedActivationFunction": int(random.choice([0, 0, 1, 3]))} if activations else {}
        )
        constant = random.integers(-128, 128, shape).astype(np.int8)
        computed = index % 20 in (0, 11, 15)  # shapes of rank 4
        swapped = builtin != "PRELU" and bool(random.integers(2))
        data = None if computed and len(shape) == 4 else constant
        content = binary(builtin, quants, (FULL, shape), options, data, swapped)
        path.write_bytes(content)
        graph = load_model(path)
        x = random.integers(-128, 128, FULL).astype(np.int8)
        if index % 3 == 0:
            x = random.choice(np.array([-128, 127], np.int8), FULL)
        golden = tflm(content, x)
        result = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(result, golden, f"{shape} {quants} {options}")
        if index < 30:
            np.testing.assert_array_equal(sanitized_kernels.run(graph, x), golden, "C")


def test_all_pairs_of_codes(sanitized_kernels: SanitizedKernels, tmp_path: Path) -> None:
    """256 x 256: one operand down, the other across."""
    x = np.arange(-128, 128, dtype=np.int8).reshape(1, 256, 1)
    for builtin in BUILTINS:
        quants = ((0.03, -7), (0.05, 11), (0.4, 3))
        if builtin in ("MINIMUM", "MAXIMUM"):
            quants = (quants[0],) * 3
        content = binary(builtin, quants, (x.shape, (256,)), {}, x.reshape(256))
        (tmp_path / "model.tflite").write_bytes(content)
        graph = load_model(tmp_path / "model.tflite")
        result = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(result, tflm(content, x), builtin)
        np.testing.assert_array_equal(sanitized_kernels.run(graph, x), result, builtin)


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    quants = ((0.1, 0), (0.2, 0), (0.1, 0))
    data = np.zeros((1, 1, 1, 5), np.int8)
    path.write_bytes(binary("MAXIMUM", quants, (FULL, data.shape), {}, data))
    with pytest.raises(ModelError, match=r"MAXIMUM #0 .*must have one quantization"):
        load_model(path)
    file = File()
    x, y = file.tensor(FULL, 0.1), file.tensor(FULL, 0.1)
    other = file.constant(np.zeros((1, 1, 1, 4), np.int8), (0.1,))
    file.inputs, file.outputs = [x], [file.operator("MUL", [x, other], y, {})]
    path.write_bytes(write(file))
    with pytest.raises(ModelError, match=r"MUL #0 .*shapes \[1, 3, 4, 5\] and .* differ"):
        load_model(path)
