"""Forms of .tflite files that converters write, each against TensorFlow Lite Micro's result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.goldens import tflite_reference, tflm
from tests.support.tflite_writer import Graph, write
from tinykit.importers import load_model
from tinykit.ir import Array
from tinykit.ir import Graph as Model
from tinykit.ops.evaluate import evaluate

RANDOM = np.random.default_rng(3)


def weights(*shape: int) -> Array:
    return RANDOM.integers(-127, 128, shape).astype(np.int8)


def codes(*shape: int) -> Array:
    return RANDOM.integers(-128, 128, shape).astype(np.int8)


def load(content: bytes, folder: Path) -> Model:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return load_model(path)


def infer(graph: Model, x: Array) -> Array:
    return evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]


def convolution(graph: Graph, x: int, bias_axis: int = 0) -> int:
    """A 3x3 convolution from [1, 6, 5, 2] to [1, 4, 3, 4]."""
    scale = (0.01, 0.02, 0.003, 0.04)
    w = graph.constant(weights(4, 3, 3, 2), scale)
    bias = RANDOM.integers(-500, 500, 4).astype(np.int32)
    b = graph.constant(bias, tuple(0.1 * s for s in scale), axis=bias_axis)
    y = graph.tensor((1, 4, 3, 4), 0.2, -7)
    options: dict[str, float | int] = {"Padding": 1, "StrideH": 1, "StrideW": 1}
    return graph.operator("CONV_2D", [x, w, b], y, options, version=3)


def simple(**tensor: object) -> Graph:
    graph = Graph()
    x = graph.tensor((1, 6, 5, 2), 0.1, 3, **tensor)  # type: ignore[arg-type]
    graph.inputs, graph.outputs = [x], [convolution(graph, x)]
    return graph


def test_unknown_batch_counts_as_one(tmp_path: Path) -> None:
    content = write(simple(signature=(-1, 6, 5, 2)))
    x = codes(1, 6, 5, 2)
    np.testing.assert_array_equal(infer(load(content, tmp_path), x), tflm(content, x))


def test_unknown_batch_stored_as_zero(tmp_path: Path) -> None:
    graph = simple()
    expected = write(graph)
    for tensor in graph.tensors:
        if tensor.data is None:
            tensor.shape = (0, *tensor.shape[1:])
    x = codes(1, 6, 5, 2)
    np.testing.assert_array_equal(infer(load(write(graph), tmp_path), x), tflm(expected, x))


def test_bias_with_another_quantized_dimension(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.tensor((1, 6, 5, 2), 0.1, 3)
    graph.inputs, graph.outputs = [x], [convolution(graph, x, bias_axis=3)]
    content, x_codes = write(graph), codes(1, 6, 5, 2)
    np.testing.assert_array_equal(infer(load(content, tmp_path), x_codes), tflm(content, x_codes))


def test_constants_behind_the_flatbuffer(tmp_path: Path) -> None:
    graph = simple()
    x = codes(1, 6, 5, 2)
    loaded = load(write(graph, offset_buffers=True), tmp_path)
    np.testing.assert_array_equal(infer(loaded, x), tflm(write(graph), x))


def test_tensors_of_one_name(tmp_path: Path) -> None:
    graph = simple()
    for tensor in graph.tensors:
        tensor.name = "same"
    content, x = write(graph), codes(1, 6, 5, 2)
    loaded = load(content, tmp_path)
    assert sorted(loaded.tensors) == ["same", "same_2", "same_3", "same_4"]
    np.testing.assert_array_equal(infer(loaded, x), tflm(content, x))


def test_uint8_at_the_edges(tmp_path: Path) -> None:
    graph = Graph()
    outer = graph.tensor((1, 6, 5, 2), 0.1, 131, "UINT8")
    x = graph.operator("QUANTIZE", [outer], graph.tensor((1, 6, 5, 2), 0.1, 3))
    y = convolution(graph, x)
    out = graph.operator("QUANTIZE", [y], graph.tensor((1, 4, 3, 4), 0.2, 121, "UINT8"))
    graph.inputs, graph.outputs = [outer], [out]
    content = write(graph)
    loaded = load(content, tmp_path)
    assert loaded[loaded.inputs[0]].dtype == loaded[loaded.outputs[0]].dtype == "uint8"
    x_codes = RANDOM.integers(0, 256, (1, 6, 5, 2)).astype(np.uint8)
    y_codes = infer(loaded, x_codes)
    assert y_codes.dtype == np.uint8
    np.testing.assert_array_equal(y_codes, tflm(content, x_codes))


def test_float_edges_are_dropped(tmp_path: Path) -> None:
    graph = Graph()
    outer = graph.tensor((1, 6, 5, 2), None, type="FLOAT32")
    x = graph.operator("QUANTIZE", [outer], graph.tensor((1, 6, 5, 2), 0.1, 3))
    y = convolution(graph, x)
    out = graph.operator("DEQUANTIZE", [y], graph.tensor((1, 4, 3, 4), None, type="FLOAT32"))
    graph.inputs, graph.outputs = [outer], [out]
    content = write(graph)
    loaded = load(content, tmp_path)
    assert [op.kind for op in loaded.ops] == ["conv2d"]
    quant = loaded[loaded.outputs[0]].quant
    x_codes = codes(1, 6, 5, 2)
    real = (x_codes.astype(np.float32) - 3) * np.float32(0.1)
    y_real = (infer(loaded, x_codes).astype(np.float32) - quant.zero_point0) * np.float32(0.2)
    np.testing.assert_array_equal(y_real, tflm(content, real))


@pytest.mark.parametrize("builtin", ["RESHAPE", "SQUEEZE", "EXPAND_DIMS"])
def test_reshape_without_options_or_shape(builtin: str, tmp_path: Path) -> None:
    graph = Graph()
    x = graph.tensor((1, 3, 4), 0.1, 3)
    shape = (1, 12) if builtin == "RESHAPE" else (1, 1, 3, 4)
    y = graph.operator(builtin, [x], graph.tensor(shape, 0.1, 3), None)
    graph.inputs, graph.outputs = [x], [y]
    loaded = load(write(graph), tmp_path)
    x_codes = codes(1, 3, 4)
    np.testing.assert_array_equal(infer(loaded, x_codes), x_codes.reshape(shape))


def test_reshape_to_a_shape_computed_from_the_batch(tmp_path: Path) -> None:
    """What converters emit for Flatten on an unknown batch."""
    graph = Graph()
    x = graph.tensor((1, 6, 5, 2), 0.1, 3, signature=(-1, 6, 5, 2))
    y = convolution(graph, x)
    shape = graph.operator("SHAPE", [y], graph.tensor((4,), None, type="INT32"), {"OutType": 2})
    bounds = [graph.constant(np.array([i], np.int32)) for i in (0, 1, 1)]
    batch = graph.operator(
        "STRIDED_SLICE", [shape, *bounds], graph.tensor((), None, type="INT32"),
        {"ShrinkAxisMask": 1},
    )  # fmt: skip
    rest = graph.constant(np.array(48, np.int32))
    target = graph.operator(
        "PACK", [batch, rest], graph.tensor((2,), None, type="INT32"), {"ValuesCount": 2}
    )
    flat = graph.operator("RESHAPE", [y, target], graph.tensor((1, 48), 0.2, -7), None)
    graph.inputs, graph.outputs = [x], [flat]
    content = write(graph)
    loaded = load(content, tmp_path)
    assert [op.kind for op in loaded.ops] == ["conv2d", "reshape"]
    x_codes = codes(1, 6, 5, 2)
    np.testing.assert_array_equal(infer(loaded, x_codes), tflite_reference([(content, x_codes)])[0])


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(
    ("shape", "keep"), [((1, 5, 6), True), ((1, 5, 6), False), ((1, 30), False)]
)
def test_fully_connected_over_rows(
    shape: tuple[int, ...], keep: bool, per_channel: bool, tmp_path: Path
) -> None:
    graph = Graph()
    x = graph.tensor(shape, 0.05, -4)
    scale = (0.02, 0.03, 0.01) if per_channel else (0.02,)
    w = graph.constant(weights(3, shape[-1]), scale)
    rows = int(np.prod(shape)) // shape[-1]
    out = (*shape[:-1], 3) if keep else (rows, 3)
    y = graph.operator(
        "FULLY_CONNECTED", [x, w, -1], graph.tensor(out, 0.3, 9), {"KeepNumDims": keep},
        version=9 if per_channel else 5,
    )  # fmt: skip
    graph.inputs, graph.outputs = [x], [y]
    content, x_codes = write(graph), codes(*shape)
    loaded = load(content, tmp_path)
    assert loaded[loaded.outputs[0]].shape == out
    np.testing.assert_array_equal(infer(loaded, x_codes), tflm(content, x_codes))


def test_empty_initialisation_graph_is_dropped(tmp_path: Path) -> None:
    graph = simple()
    called = write(graph)
    graph.operators.insert(0, _call_once())
    x = codes(1, 6, 5, 2)
    loaded = load(write(graph, Graph()), tmp_path)
    np.testing.assert_array_equal(infer(loaded, x), tflm(called, x))


def _call_once() -> object:
    from tests.support.tflite_writer import Operator

    return Operator("CALL_ONCE", [], [], {"InitSubgraphIndex": 1}, 1)


def test_relu6_that_rescales_equals_tflite(tmp_path: Path) -> None:
    """TFLM's RELU6 ignores the output's scale; TFLite's reference kernel does not."""
    graph = Graph()
    x = graph.tensor((1, 16, 16), 0.1, -20)
    y = graph.operator("RELU6", [x], graph.tensor((1, 16, 16), 6 / 255, -128), version=2)
    graph.inputs, graph.outputs = [x], [y]
    content, x_codes = write(graph), codes(1, 16, 16)
    expected = tflite_reference([(content, x_codes)])[0]
    np.testing.assert_array_equal(infer(load(content, tmp_path), x_codes), expected)


def test_uint8_requantized_inside_and_out(tmp_path: Path) -> None:
    """uint8 with another scale than int8: not only a shift by 128."""
    graph = Graph()
    x = graph.tensor((1, 300), 0.1, 100, "UINT8")
    y = graph.operator("QUANTIZE", [x], graph.tensor((1, 300), 0.13, -3))
    graph.inputs, graph.outputs = [x], [y]
    content = write(graph)
    x_codes = np.resize(np.arange(256), (1, 300)).astype(np.uint8)
    expected = tflm(content, x_codes)
    np.testing.assert_array_equal(infer(load(content, tmp_path), x_codes), expected)


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("builtin", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_dilation_spelt_out_in_batches(builtin: str, rank: int, tmp_path: Path) -> None:
    """SPACE_TO_BATCH_ND … BATCH_TO_SPACE_ND around a convolution, in 1-D with reshapes inside."""
    block = [2, 3] if rank == 4 else [3]
    pads = [[2, 2], [3, 5]] if rank == 4 else [[6, 5]]  # to multiples of the block
    crops = [[0, 0], [0, 2]] if rank == 4 else [[0, 1]]
    size = [6, 7] if rank == 4 else [7]
    padded = [(n + a + b) // d for n, (a, b), d in zip(size, pads, block, strict=True)]
    kernel = (2, 3) if rank == 4 else (1, 3)
    made = [n - k + 1 for n, k in zip(padded, kernel[4 - rank :], strict=True)]
    out = [n * d - a - b for n, d, (a, b) in zip(made, block, crops, strict=True)]
    batch = int(np.prod(block))
    graph = Graph()
    x = graph.tensor((1, *size, 2), 0.1, 3)
    constants = [graph.constant(np.array(v, np.int32)) for v in (block, pads, crops)]
    y = graph.tensor((batch, *padded, 2), 0.1, 3)
    y = graph.operator("SPACE_TO_BATCH_ND", [x, *constants[:2]], y)
    if rank == 3:
        axis = graph.constant(np.array(-3, np.int32))
        y = graph.operator("EXPAND_DIMS", [y, axis], graph.tensor((batch, 1, *padded, 2), 0.1, 3))
    depthwise = builtin == "DEPTHWISE_CONV_2D"
    shape = (1, *kernel, 2) if depthwise else (4, *kernel, 2)
    channels = 2 if depthwise else 4
    w = graph.constant(weights(*shape), (0.02,))
    b = graph.constant(RANDOM.integers(-99, 99, channels).astype(np.int32), (0.002,))
    rows = made if rank == 4 else [1, *made]
    y = graph.operator(
        builtin, [y, w, b], graph.tensor((batch, *rows, channels), 0.2, -5),
        {"Padding": 1, "StrideH": 1, "StrideW": 1}, 3,
    )  # fmt: skip
    if rank == 3:
        target = graph.constant(np.array([batch, *made, channels], np.int32))
        y = graph.operator(
            "RESHAPE", [y, target], graph.tensor((batch, *made, channels), 0.2, -5), None
        )
    last = graph.tensor((1, *out, channels), 0.2, -5)
    y = graph.operator("BATCH_TO_SPACE_ND", [y, constants[0], constants[2]], last)
    graph.inputs, graph.outputs = [x], [y]
    content, x_codes = write(graph), codes(1, *size, 2)
    loaded = load(content, tmp_path)
    kind = builtin.lower().replace("conv_2d", "conv2d")
    assert [op.kind for op in loaded.ops] == ([kind] if rank == 4 else ["reshape", kind, "reshape"])
    expected = tflite_reference([(content, x_codes)])[0]
    np.testing.assert_array_equal(infer(loaded, x_codes), expected)
