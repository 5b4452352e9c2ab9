"""LOG_SOFTMAX, L2_NORMALIZATION and DIV equal TensorFlow Lite Micro; an ARG_MAX at the end leaves
the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from tests.ops.test_forward_property import EFFORT, SETTINGS, check
from tests.support.goldens import tflm
from tests.support.kernels import SanitizedKernels
from tests.support.random_elementwise import l2_normalization, log_softmax
from tests.support.random_models import RandomModel, models
from tests.support.tflite_writer import Graph, write
from tinykit.errors import ModelError
from tinykit.importers import load_model
from tinykit.ir import Array
from tinykit.ir import Graph as IrGraph
from tinykit.ops.evaluate import evaluate

FULL = (1, 3, 4, 5)
SHAPES = [FULL, (1, 1, 1, 5), (5,), (1,), (1, 3, 1, 1), (3, 1, 1)]


@settings(SETTINGS, max_examples=100 * EFFORT)
@given(model=models((log_softmax,)))
def test_log_softmax_equals_tflm(
    sanitized_kernels: SanitizedKernels, tmp_path: Path, model: RandomModel
) -> None:
    check(model, sanitized_kernels, tmp_path)


@settings(SETTINGS, max_examples=100 * EFFORT)
@given(model=models((l2_normalization,)))
def test_l2_normalization_equals_tflm(
    sanitized_kernels: SanitizedKernels, tmp_path: Path, model: RandomModel
) -> None:
    check(model, sanitized_kernels, tmp_path)


def divided(constant: Array, quants: list[tuple[float, int]], activation: int) -> bytes:
    graph = Graph()
    x = graph.tensor(FULL, *quants[0])
    b = graph.constant(constant, (quants[1][0],), (quants[1][1],))
    y = graph.tensor(FULL, *quants[2])
    graph.operator("DIV", [x, b], y, {"FusedActivationFunction": activation}, version=2)
    graph.inputs, graph.outputs = [x], [y]
    return write(graph)


def load(content: bytes, folder: Path) -> IrGraph:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return load_model(path)


def test_div_equals_tflm_where_that_is_defined(
    sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    """No divisor of 0, and no shift of more than 31 bits: dividends far from 0, if not 0 itself."""
    random, compared = np.random.default_rng(0), 0
    for index in range(60):
        zeros = [int(random.choice([-128, 127, 0, random.integers(-128, 128)])) for _ in range(3)]
        a, b = (float(np.float32(10.0 ** random.uniform(-3, 1))) for _ in range(2))
        ratio = random.choice([0.5, 2.0, 30.0, 200.0])
        scale = float(np.float32(a / b / ratio))
        quants = [(a, zeros[0]), (b, zeros[1]), (scale, zeros[2])]
        constant = random.integers(-128, 128, SHAPES[index % len(SHAPES)]).astype(np.int8)
        constant[constant == zeros[1]] += -1 if zeros[1] == 127 else 1
        content = divided(constant, quants, int(random.choice([0, 0, 1, 3])))
        graph = load(content, tmp_path)
        x = random.integers(-128, 128, FULL).astype(np.int8)
        found = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(sanitized_kernels.run(graph, x), found, "C")
        divisor = np.abs(constant.astype(int) - zeros[1])
        dividend = np.abs(x.astype(int) - zeros[0])
        bits = [np.floor(np.log2(np.maximum(n, 1))) for n in (dividend, divisor)]
        shift = np.frexp(a / (b * scale))[1]
        defined = (31 - bits[0] + bits[1] - shift <= 31) & (dividend > 0)
        golden = tflm(content, x)
        compared += int(defined.sum())
        np.testing.assert_array_equal(found[defined], golden[defined], str(quants))
    assert compared > 1000


def test_all_quotients_are_near_the_real_ones(
    sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    codes = np.arange(-128, 128, dtype=np.int8)
    graph = Graph()
    x = graph.tensor((1, 256, 1), 0.03, -7)
    y = graph.tensor((1, 256, 256), 0.02, 3)
    b = graph.constant(codes, (0.05,), (11,))
    graph.operator("DIV", [x, b], y, {}, version=2)
    graph.inputs, graph.outputs = [x], [y]
    loaded = load(write(graph), tmp_path)
    found = sanitized_kernels.run(loaded, codes.reshape(1, 256, 1))
    divisor = np.where(codes == 11, 1, codes - 11.0) * 0.05
    real = (codes[:, None] + 7.0) * 0.03 / divisor / 0.02
    expected = np.clip(real + 3, -128, 127)
    assert np.abs(found[0] - expected).max() < 0.51
    again = evaluate(loaded, {loaded.inputs[0]: codes.reshape(1, 256, 1)})
    np.testing.assert_array_equal(again[loaded.outputs[0]], found)


def classified(shape: tuple[int, ...], axis: int) -> bytes:
    graph = Graph()
    x = graph.tensor(shape, 0.1, 0)
    scores = graph.tensor(shape, 0.2, 3)
    graph.operator("QUANTIZE", [x], scores)
    y = graph.tensor(shape[:-1], None, type="INT32")
    numbers = graph.constant(np.array(axis, np.int32))
    graph.operator("ARG_MAX", [scores, numbers], y, {"OutputType": 2})
    graph.inputs, graph.outputs = [x], [y]
    return write(graph)


def test_an_arg_max_at_the_end_leaves_the_scores(tmp_path: Path) -> None:
    content = classified((1, 9), 1)
    graph = load(content, tmp_path)
    x = np.random.default_rng(0).integers(-128, 128, (1, 9)).astype(np.int8)
    x[0, 7] = x[0, 2] = 127  # the first of the largest
    scores = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    assert scores.shape == (1, 9)
    assert int(scores.argmax()) == int(tflm(content, x)[0]) == 2
    with pytest.raises(ModelError, match=r"ARG_MAX #1 .*of \[1, 4, 9\] along axis 2"):
        load(classified((1, 4, 9), 2), tmp_path)


def normalized(shape: tuple[int, ...], zero_point: int, output: tuple[float, int]) -> bytes:
    graph = Graph()
    x, y = graph.tensor(shape, 0.02, zero_point), graph.tensor(shape, *output)
    graph.operator("L2_NORMALIZATION", [x], y, {})
    graph.inputs, graph.outputs = [x], [y]
    return write(graph)


@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_l2_normalization_of_short_and_long_rows(
    zero_point: int, sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    """Lengths of 0, 1, the square roots of 2 and 3, and as long as sums of 32 bits allow."""
    rows = np.full((6, 33000), zero_point, np.int8)
    step = 1 if zero_point < 127 else -1
    for row, count in enumerate((0, 1, 2, 3)):
        rows[row, :count] += step
    rows[4] = 127 if zero_point < 0 else -128
    rows[5] = np.random.default_rng(1).integers(-128, 128, rows.shape[1])
    for columns in (3, 33000):
        x = np.ascontiguousarray(rows[None, :, :columns])
        content = normalized(x.shape, zero_point, (1 / 128, 0))
        graph = load(content, tmp_path)
        golden = tflm(content, x).reshape(x.shape)
        np.testing.assert_array_equal(sanitized_kernels.run(graph, x).reshape(x.shape), golden)
        found = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(found.reshape(x.shape), golden)


def test_l2_normalization_of_another_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"L2_NORMALIZATION #0 .*supported is 1/128/0"):
        load(normalized((1, 4), 0, (1 / 256, 0)), tmp_path)
    with pytest.raises(ModelError, match="40000 values; at most 33025"):
        load(normalized((1, 40000), 0, (1 / 128, 0)), tmp_path)
