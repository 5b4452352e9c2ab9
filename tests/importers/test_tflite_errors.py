"""What cannot be imported is one line that names the file, the operator and what is supported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.importers.test_tflite import codes, convolution, weights
from tests.support.tflite_writer import Graph, Operator, write
from tinykit.errors import ModelError
from tinykit.importers import load_model


def error_of(content: bytes | Graph, folder: Path, name: str = "model.tflite") -> ModelError:
    path = folder / name
    path.write_bytes(write(content) if isinstance(content, Graph) else content)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert (caught.value.message + caught.value.hint).isprintable()
    return caught.value


def convolution_model() -> Graph:
    graph = Graph()
    x = graph.tensor((1, 6, 5, 2), 0.1, 3, name="image")
    graph.inputs, graph.outputs = [x], [convolution(graph, x)]
    graph.tensors[graph.outputs[0]].name = "features"
    return graph


def one_operator(builtin: str, options: dict[str, float | int] | None = None) -> Graph:
    graph = Graph()
    x = graph.tensor((1, 4, 4, 2), 0.1, 3, name="image")
    y = graph.tensor((1, 4, 4, 2), 0.1, 3, name="features")
    graph.operator(builtin, [x], y, options)
    graph.inputs, graph.outputs = [x], [y]
    return graph


def test_unsupported_operator(tmp_path: Path) -> None:
    error = error_of(one_operator("COS"), tmp_path)
    assert "COS #0 (makes features): this operator (version 1) is not supported" in error.message
    assert "CONV_2D, DEPTHWISE_CONV_2D, DEQUANTIZE" in error.hint


def test_custom_operator(tmp_path: Path) -> None:
    assert "CUSTOM ? #0 (makes features)" in error_of(one_operator("CUSTOM"), tmp_path).message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a TensorFlow Lite model"),
        (b"hello, this is a text file", "not a TensorFlow Lite model"),
        (b"\x1c\0\0\0TFL3", "not a TensorFlow Lite model"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "damaged model|holds no graph"),
        (b"\xff\xff\xff\xffTFL3" + b"\xff" * 100, "damaged model"),
    ],
)
def test_not_a_model(content: bytes, says: str, tmp_path: Path) -> None:
    import re

    assert re.search(says, error_of(content, tmp_path).message)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load_model(tmp_path / "absent.tflite")
    with pytest.raises(ModelError, match="no such file"):
        load_model(tmp_path)


def test_unknown_suffix(tmp_path: Path) -> None:
    error = error_of(write(convolution_model()), tmp_path, "model.pt")
    assert "unknown kind of model '.pt'" in error.message


def test_every_truncation_is_an_error_line(tmp_path: Path) -> None:
    content = write(convolution_model())
    for length in range(len(content) - 16):  # the last bytes are a name and padding
        error_of(content[:length], tmp_path)


def test_float_model(tmp_path: Path) -> None:
    graph = convolution_model()
    for tensor in graph.tensors:
        tensor.type, tensor.scale, tensor.zero_point = "FLOAT32", (), ()
        if tensor.data is not None:
            tensor.data = np.zeros(tensor.shape, np.float32).tobytes()
    error = error_of(graph, tmp_path)
    assert "CONV_2D #0 (makes features): tensor image is float32" in error.message
    assert "tinykit quantize" in error.hint


def test_dynamic_range_model(tmp_path: Path) -> None:
    """int8 weights, float activations."""
    graph = convolution_model()
    for i in (graph.inputs[0], graph.outputs[0]):
        tensor = graph.tensors[i]
        tensor.type, tensor.scale, tensor.zero_point = "FLOAT32", (), ()
    assert "tensor image is float32" in error_of(graph, tmp_path).message


@pytest.mark.parametrize("type", ["UINT8", "INT4"])
def test_other_activations(type: str, tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.inputs[0]].type = type
    error = error_of(graph, tmp_path)
    assert f"tensor image is {type.lower()}; supported is int8" in error.message
    assert "int16x8" not in error.hint


def test_operator_that_does_not_take_int16(tmp_path: Path) -> None:
    graph = one_operator("HARD_SWISH")
    for tensor in graph.tensors:
        tensor.type, tensor.zero_point = "INT16", (0,)
    error = error_of(graph, tmp_path)
    assert error.message.endswith(
        "HARD_SWISH #0 (makes features): tensor image is int16; supported is int8"
    )
    assert (
        "int16 activations (int16x8) go through ADD, ASSIGN_VARIABLE, AVERAGE_POOL_2D" in error.hint
    )


def test_int16_beside_int8(tmp_path: Path) -> None:
    graph = convolution_model()
    image = graph.tensors[graph.inputs[0]]
    image.type, image.zero_point = "INT16", (0,)
    assert "is int8; supported is int16" in error_of(graph, tmp_path).message


def test_int16_with_a_zero_point(tmp_path: Path) -> None:
    graph = one_operator("RELU")
    for tensor in graph.tensors:
        tensor.type = "INT16"
    message = error_of(graph, tmp_path).message
    assert "tensor image is int16 with a zero point other than 0" in message


def test_int4_of_another_length(tmp_path: Path) -> None:
    graph = convolution_model()
    kernel = graph.tensors[graph.operators[0].inputs[1]]
    kernel.type = "INT4"  # the bytes are those of int8
    error = error_of(graph, tmp_path)
    assert "72 bytes do not fill INT4[4, 3, 3, 2]" in error.message


def test_int4_activations_that_are_constant(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.tensor((1, 4), 0.1, 3, name="image")
    other = graph.int4_constant(np.arange(-2, 2)[None], (0.1,))
    y = graph.operator("ADD", [x, other], graph.tensor((1, 4), 0.1))
    graph.inputs, graph.outputs = [x], [y]
    assert "is int4; supported is int8" in error_of(graph, tmp_path).message


def test_unquantized_activations(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.outputs[0]].scale = ()
    assert "tensor features is not quantized" in error_of(graph, tmp_path).message


@pytest.mark.parametrize("scale", [0.0, -0.5, float("nan"), float("inf")])
def test_impossible_scales(scale: float, tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.inputs[0]].scale = (scale,)
    assert "tensor image has a scale that is not positive" in (
        error_of(graph, tmp_path).message.replace("a positive number", "positive")
    )


def test_zero_point_out_of_range(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.inputs[0]].zero_point = (200,)
    assert "tensor image has a zero point outside -128" in error_of(graph, tmp_path).message


def test_asymmetric_weights(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.operators[0].inputs[1]].zero_point = (0, 0, 1, 0)
    error = error_of(graph, tmp_path)
    assert "have a zero point other than 0" in error.message
    assert "symmetric" in error.hint


def test_weights_quantized_along_another_axis(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.operators[0].inputs[1]].axis = 3
    assert "one for each channel of axis 0" in error_of(graph, tmp_path).message


def test_too_few_scales(tmp_path: Path) -> None:
    graph = convolution_model()
    tensor = graph.tensors[graph.operators[0].inputs[1]]
    tensor.scale, tensor.zero_point = tensor.scale[:3], (0, 0, 0)
    assert "have 3 scales along axis 0" in error_of(graph, tmp_path).message


def test_weights_that_are_computed(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.operators[0].inputs[1]].data = None
    assert "must be constant" in error_of(graph, tmp_path).message


def test_bias_of_another_type(tmp_path: Path) -> None:
    graph = convolution_model()
    bias = graph.tensors[graph.operators[0].inputs[2]]
    bias.type, bias.data = "INT8", bytes(4)
    assert "is int8; supported is int32" in error_of(graph, tmp_path).message


def test_bias_of_another_length(tmp_path: Path) -> None:
    graph = convolution_model()
    bias = graph.tensors[graph.operators[0].inputs[2]]
    bias.shape, bias.data = (3,), bytes(12)
    assert "has 3 values for 4 channels" in error_of(graph, tmp_path).message


def test_constant_shorter_than_its_shape(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.operators[0].inputs[1]].shape = (4, 3, 3, 3)
    assert "72 bytes do not fill INT8[4, 3, 3, 3]" in error_of(graph, tmp_path).message


def test_declared_shape_that_the_operator_does_not_make(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.outputs[0]].shape = (1, 5, 3, 4)
    assert "makes [[1, 4, 3, 4]], but the model declares" in error_of(graph, tmp_path).message


def test_huge_shape(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.inputs[0]].shape = (1, 60000, 60000, 2)
    assert "impossible shape" in error_of(graph, tmp_path).message


def test_grouped_convolution(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.inputs[0]].shape = (1, 6, 5, 4)
    error = error_of(graph, tmp_path)
    assert "weights [4, 3, 3, 2] do not fit input [1, 6, 5, 4]" in error.message
    assert "grouped" in error.hint


def test_batch(tmp_path: Path) -> None:
    graph = convolution_model()
    for i in (graph.inputs[0], graph.outputs[0]):
        graph.tensors[i].shape = (8, *graph.tensors[i].shape[1:])
    assert "batch" in (error := error_of(graph, tmp_path)).message + error.hint


def test_unknown_length(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.inputs[0]].signature = (-1, 6, -1, 2)
    error = error_of(graph, tmp_path)
    assert "image has shape [-1, 6, -1, 2]: only the batch may be unknown" in error.message


def test_fused_tanh(tmp_path: Path) -> None:
    graph = convolution_model()
    assert graph.operators[0].options is not None
    graph.operators[0].options["FusedActivationFunction"] = 4
    error = error_of(graph, tmp_path)
    assert "fused activation 4 is not supported" in error.message


@pytest.mark.parametrize("name", ["StrideH", "StrideW", "DilationHFactor"])
def test_stride_of_zero(name: str, tmp_path: Path) -> None:
    graph = convolution_model()
    assert graph.operators[0].options is not None
    graph.operators[0].options[name] = -1 if name == "DilationHFactor" else 0
    assert "out of range" in error_of(graph, tmp_path).message


def test_window_larger_than_the_input(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.tensors[graph.inputs[0]].shape = (1, 2, 5, 2)
    assert "a window of [3, 3] does not fit into an input of [2, 5]" in (
        error_of(graph, tmp_path).message
    )


def test_an_input_that_nothing_reads(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.inputs.append(graph.tensor((1, 2), 1.0, 0))
    assert "no supported operator reads or makes" in error_of(graph, tmp_path).message


def test_variables(tmp_path: Path) -> None:
    graph, setup = convolution_model(), Graph()
    handle = setup.operator("VAR_HANDLE", [], setup.tensor((), None, type="RESOURCE"))
    setup.operator("ASSIGN_VARIABLE", [handle, setup.tensor((1, 2), 0.1, 0)], [])
    graph.operators.insert(0, Operator("CALL_ONCE", [], [], {"InitSubgraphIndex": 1}, 1))
    error = error_of(write(graph, setup), tmp_path)
    assert "ASSIGN_VARIABLE #1 of the graph that CALL_ONCE #0 runs" in error.message
    assert "set to constants" in error.message
    graph.operators[0].options = {"InitSubgraphIndex": 2}
    assert "CALL_ONCE #0: the model has no graph 2" in error_of(write(graph), tmp_path).message


def vectors(graph: Graph, *values: list[int]) -> list[int]:
    return [graph.constant(np.array(value, np.int32)) for value in values]


def test_slice_with_an_ellipsis(tmp_path: Path) -> None:
    graph = one_operator("STRIDED_SLICE")
    graph.operators[0].inputs += vectors(graph, [0] * 4, [4] * 4, [1] * 4)
    graph.operators[0].options = {"EllipsisMask": 2}
    error = error_of(graph, tmp_path)
    assert "STRIDED_SLICE #0" in error.message
    assert "EllipsisMask 2 is not supported" in error.message


def test_slice_outside_its_input(tmp_path: Path) -> None:
    graph = one_operator("SLICE")
    graph.operators[0].inputs += vectors(graph, [0, 0, 0, 1], [1, 4, 4, 9])
    assert "SLICE #0" in error_of(graph, tmp_path).message


def test_concatenation_of_unlike_scales(tmp_path: Path) -> None:
    graph = one_operator("CONCATENATION")
    graph.operators[0].inputs.append(graph.constant(codes(1, 4, 4, 2), (0.3,), (0,)))
    graph.operators[0].options = {"Axis": 3}
    graph.tensors[graph.outputs[0]].shape = (1, 4, 4, 4)
    assert "must have one quantization" in error_of(graph, tmp_path).message


def test_gather_by_computed_indices(tmp_path: Path) -> None:
    graph = one_operator("GATHER")
    graph.operators[0].inputs.append(graph.tensor((3,), None, type="INT32"))
    assert "must be a constant" in error_of(graph, tmp_path).message


def test_addition_of_unlike_shapes(tmp_path: Path) -> None:
    graph = one_operator("ADD")
    other = graph.constant(codes(1, 4, 1, 2), (0.1,), (0,))
    graph.operators[0].inputs.append(other)
    error = error_of(graph, tmp_path)
    assert "shapes [1, 4, 4, 2] and [1, 4, 1, 2] cannot be added" in error.message
    assert "per channel" in error.hint


def test_mean_over_distant_axes_into_another_shape(tmp_path: Path) -> None:
    graph = one_operator("MEAN", {"KeepDims": 1})
    graph.operators[0].inputs.append(graph.constant(np.array([1, 3], np.int32)))
    error = error_of(graph, tmp_path)
    assert "MEAN #0 (makes features): makes [1, 1, 4, 1], not [1, 4, 4, 2]" in error.message


def test_softmax_into_another_scale(tmp_path: Path) -> None:
    assert "supported is 1/256/-128" in error_of(one_operator("SOFTMAX"), tmp_path).message


def test_pool_that_would_rescale(tmp_path: Path) -> None:
    graph = one_operator("MAX_POOL_2D", {"FilterHeight": 1, "FilterWidth": 1,
                                         "StrideH": 1, "StrideW": 1})  # fmt: skip
    graph.tensors[graph.outputs[0]].scale = (0.2,)
    assert "must have one quantization" in error_of(graph, tmp_path).message


def test_shuffled_weights(tmp_path: Path) -> None:
    graph = Graph()
    x, y = graph.tensor((1, 8), 0.1, 3), graph.tensor((1, 4), 0.1, 3)
    w = graph.constant(weights(4, 8), (0.1,))
    graph.operator("FULLY_CONNECTED", [x, w], y, {"WeightsFormat": 1})
    graph.inputs, graph.outputs = [x], [y]
    assert "shuffled weights" in error_of(graph, tmp_path).message


def test_index_of_a_tensor_that_does_not_exist(tmp_path: Path) -> None:
    graph = convolution_model()
    graph.operators[0].inputs[0] = 99
    assert "a CONV_2D names a tensor that does not exist" in error_of(graph, tmp_path).message


def test_model_without_operators(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.tensor((1, 4), 0.1, 0)
    graph.inputs = graph.outputs = [x]
    assert "holds no operators" in error_of(graph, tmp_path).message
