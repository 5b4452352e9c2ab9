"""INT4 weights, two a byte in the file: the results are TensorFlow Lite Micro's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.importers.test_tflite import codes, infer, load
from tests.support.goldens import tflm
from tests.support.kernels import SanitizedKernels
from tests.support.tflite_writer import Graph, Options, write
from tinykit.ir import Array

RANDOM = np.random.default_rng(4)
Shape = tuple[int, ...]


def int4(*shape: int) -> Array:
    """Every code from -8 to 7, in random order."""
    size = int(np.prod(shape))
    return RANDOM.permutation(np.arange(size) % 16 - 8).astype(np.int8).reshape(shape)


def one_layer(
    builtin: str, shape: Shape, weights: Array, output: Shape, axis: int, per_channel: bool,
    packed: bool = True,
) -> bytes:  # fmt: skip
    """The same layer with its weights as INT4 (packed) or INT8."""
    random, channels = np.random.default_rng(5), weights.shape[axis]
    scale = tuple(random.uniform(0.05, 0.2, channels if per_channel else 1).tolist())
    graph = Graph()
    x = graph.tensor(shape, 0.1, 3)
    if packed:
        w = graph.int4_constant(weights, scale, axis)
    else:
        w = graph.constant(weights, scale, axis=axis)
    bias = random.integers(-500, 500, channels).astype(np.int32)
    b = graph.constant(bias, tuple(0.1 * s for s in scale))
    options: Options = {} if builtin == "FULLY_CONNECTED" else {
        "Padding": 1, "StrideH": 1, "StrideW": 1,
        **({"DepthMultiplier": 1} if builtin == "DEPTHWISE_CONV_2D" else {}),
    }  # fmt: skip
    y = graph.tensor(output, 0.4, -7)
    graph.inputs, graph.outputs = [x], [graph.operator(builtin, [x, w, b], y, options, version=7)]
    return write(graph)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(
    ("builtin", "shape", "weights", "output", "axis"),
    [
        ("CONV_2D", (1, 6, 5, 3), (3, 3, 3, 3), (1, 4, 3, 3), 0),  # an odd number of weights
        ("CONV_2D", (1, 5, 4, 6), (8, 1, 1, 6), (1, 5, 4, 8), 0),
        ("DEPTHWISE_CONV_2D", (1, 6, 5, 3), (1, 3, 3, 3), (1, 4, 3, 3), 3),
        ("DEPTHWISE_CONV_2D", (1, 5, 4, 8), (1, 2, 3, 8), (1, 4, 2, 8), 3),
        ("FULLY_CONNECTED", (1, 7), (5, 7), (1, 5), 0),
        ("FULLY_CONNECTED", (1, 16), (10, 16), (1, 10), 0),
    ],
)
def test_int4_weights_equal_tflm(
    builtin: str, shape: Shape, weights: Shape, output: Shape, axis: int, per_channel: bool,
    tmp_path: Path, sanitized_kernels: SanitizedKernels,
) -> None:  # fmt: skip
    layer = (builtin, shape, int4(*weights), output, axis, per_channel)
    content = one_layer(*layer)
    graph = load(content, tmp_path)
    if builtin == "FULLY_CONNECTED" and per_channel:  # TFLM takes these only as INT8
        content = one_layer(*layer, packed=False)
    for _ in range(3):
        x = codes(*shape)
        expected = tflm(content, x)
        assert len(np.unique(expected)) > 3
        np.testing.assert_array_equal(infer(graph, x), expected, "NumPy reference")
        np.testing.assert_array_equal(sanitized_kernels.run(graph, x), expected, "C")
