"""Sizes at which the kernels' arithmetic changes: large windows, many classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.goldens import tflm
from tests.support.kernels import SanitizedKernels
from tests.support.networks import Network
from tests.support.tflite_writer import Graph, write
from tinykit.importers import load_model
from tinykit.ops.evaluate import evaluate


def model(
    builtin: str,
    shape: tuple[int, ...],
    made: tuple[int, ...],
    scale: float,
    output: tuple[float, int],
    options: dict[str, float | int],
    folder: Path,
) -> bytes:
    graph = Graph()
    x = graph.tensor(shape, scale, 5)
    y = graph.operator(builtin, [x], graph.tensor(made, *output), options, 2)
    graph.inputs, graph.outputs = [x], [y]
    content = write(graph)
    (folder / "model.tflite").write_bytes(content)
    return content


@pytest.mark.parametrize(("height", "width"), [(1, 2), (56, 103), (3, 1923), (100, 100)])
def test_averages_over_large_windows(
    height: int, width: int, sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    """The reciprocal is exact up to 5,768 pixels; above, the kernel divides."""
    options: dict[str, float | int] = {
        "FilterHeight": height, "FilterWidth": width, "StrideH": 1, "StrideW": 1, "Padding": 1,
    }  # fmt: skip
    shape = (1, height, width, 40)
    content = model("AVERAGE_POOL_2D", shape, (1, 1, 1, 40), 0.1, (0.1, 5), options, tmp_path)
    graph = load_model(tmp_path / "model.tflite")
    random = np.random.default_rng(1)
    x = np.full(shape, -128, np.int8)
    for channel in range(40):  # sums on both sides of each rounding step
        count = (channel * height * width) // 39
        order = random.permutation(height * width)[:count]
        x.reshape(-1, 40)[order, channel] = 127
    expected = tflm(content, x)
    y = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(sanitized_kernels.run(graph, x), expected)


@pytest.mark.parametrize("scale", [2.0**-20, 0.003, 0.0471, 0.1234, 1.5])
def test_sigmoid_of_every_code(
    scale: float, sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    content = model("LOGISTIC", (1, 256), (1, 256), scale, (1 / 256, -128), {}, tmp_path)
    graph = load_model(tmp_path / "model.tflite")
    x = np.arange(-128, 128).astype(np.int8).reshape(1, 256)
    expected = tflm(content, x)
    assert scale < 0.001 or len(set(expected.reshape(-1))) > 8
    y = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(sanitized_kernels.run(graph, x), expected)


@pytest.mark.parametrize("depth", [1, 2, 1000, 4095])
def test_softmax_over_many_classes(
    depth: int, sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    shape = (1, depth)
    content = model("SOFTMAX", shape, shape, 0.1, (1 / 256, -128), {"Beta": 1.0}, tmp_path)
    graph = load_model(tmp_path / "model.tflite")
    x = np.clip(np.random.default_rng(2).normal(-60, 25, shape), -128, 127).astype(np.int8)
    x[0, depth // 2] = 127
    expected = tflm(content, x)
    y = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(sanitized_kernels.run(graph, x), expected)


def test_softmax_of_equal_classes(sanitized_kernels: SanitizedKernels, tmp_path: Path) -> None:
    """A probability below 1/512 is 0 (TFLM aborts here: its sum exceeds 511)."""
    model("SOFTMAX", (1, 1000), (1, 1000), 0.1, (1 / 256, -128), {"Beta": 1.0}, tmp_path)
    graph = load_model(tmp_path / "model.tflite")
    x = np.full((1, 1000), 17, np.int8)
    assert (evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]] == -128).all()
    assert (sanitized_kernels.run(graph, x) == -128).all()


@pytest.mark.parametrize("channels", [9, 16])
def test_convolutions_of_one_tap_that_see_padding_alone(
    channels: int, sanitized_kernels: SanitizedKernels
) -> None:
    """A PAD in front of a 1x1 convolution is fused into it."""
    net = Network((1, 2, 5, channels))
    graph = net.graph(net.conv("x", 6, (1, 1), padding=(1, 2, 0, 3)))
    for x in net.inputs(3):
        expected = evaluate(graph, {"x": x})[graph.outputs[0]]
        for rows in (False, True):
            np.testing.assert_array_equal(sanitized_kernels.run(graph, x, rows), expected)


@pytest.mark.parametrize("first", [True, False])
def test_a_sum_with_what_is_far_too_small_to_count(
    first: bool, sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    """Scales further apart than 2^31: the multiplier of the smaller one is 0, its shift too."""
    graph = Graph()
    x = graph.tensor((1, 2, 9), 1e-5, 3)
    codes = np.arange(-9, 9, dtype=np.int8).reshape(1, 2, 9) * 14
    large = graph.constant(codes, (1e7,), (-128,))
    y = graph.tensor((1, 2, 9), 6e6, 5)
    graph.operator("ADD", [x, large] if first else [large, x], y, {}, 2)
    graph.inputs, graph.outputs = [x], [y]
    content = write(graph)
    (tmp_path / "model.tflite").write_bytes(content)
    loaded = load_model(tmp_path / "model.tflite")
    for code in (-128, 127):
        inputs = np.full((1, 2, 9), code, np.int8)
        expected = tflm(content, inputs)
        np.testing.assert_array_equal(sanitized_kernels.run(loaded, inputs), expected)
