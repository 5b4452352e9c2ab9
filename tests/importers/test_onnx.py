"""ONNX models that onnxruntime has quantized: every operator against TensorFlow Lite Micro, to the
bit, and against onnxruntime, to a step of the output's scale."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.support.goldens import tflm
from tests.support.kernels import SanitizedKernels
from tests.support.onnx_models import (
    as_tflite,
    file_graph,
    float_model,
    node,
    quantized,
    run_onnxruntime,
)
from tinykit.importers import load_model
from tinykit.importers.onnx_operators import CONVERTERS
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import evaluate
from tinykit.passes import simplify

IMAGE = (1, 4, 7, 6)


def weights(*shape: int, seed: int = 1) -> Array:
    values = np.random.default_rng(seed).standard_normal(shape)
    return (values / math.sqrt(max(1, math.prod(shape[1:])))).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def scalar(value: float) -> Array:
    return np.array(value, np.float32)


@dataclass
class Case:
    """A model of these nodes from x to y; steps: by how many it may differ from onnxruntime;
    tflm: whether TFLite can hold it."""

    nodes: list[Any]
    constants: dict[str, Array] = field(default_factory=dict)
    shape: tuple[int, ...] = IMAGE
    opset: int = 17
    steps: int = 1
    tflm: bool = True
    symmetric: bool = False  # zero points 0, so that onnxruntime keeps activations


def after(operator: str, *limits: str, **constants: Array) -> Case:
    """An activation that does not belong to a layer."""
    nodes = [node("Abs", ["x"], ["a"], "/a"), node("Sub", ["a", "one"], ["s"], "/s"),
             node(operator, ["s", *limits], ["y"], "/part")]  # fmt: skip
    return Case(nodes, {"one": scalar(1), **constants}, steps=2, symmetric=True)


def one(
    operator: str, *inputs: str, shape: tuple[int, ...] = IMAGE, opset: int = 17, steps: int = 1,
    tflm: bool = True, constants: dict[str, Array] | None = None, **attributes: Any,
) -> Case:  # fmt: skip
    nodes = [node(operator, ["x", *inputs], ["y"], f"/part/{operator}", **attributes)]
    return Case(nodes, constants or {}, shape, opset, steps, tflm)


def conv(
    w: Array, shape: tuple[int, ...] = IMAGE, operator: str = "Conv", **attributes: Any
) -> Case:
    outputs = w.shape[1] if operator == "ConvTranspose" else w.shape[0]
    constants = {"w": w, "b": weights(outputs, seed=2)}
    return one(operator, "w", "b", shape=shape, constants=constants, **attributes)


def resize(mode: str, way: str, size: tuple[int, int], **more: Any) -> Case:
    constants = {"size": ints(1, 4, *size)}
    return one("Resize", "", "", "size", constants=constants, mode=mode,
               coordinate_transformation_mode=way, **more)  # fmt: skip


CASES: dict[str, Case] = {
    "conv": conv(weights(5, 4, 3, 3)),
    "conv_padded": conv(weights(5, 4, 3, 2), pads=[1, 0, 2, 1], strides=[2, 1]),
    "conv_dilated": conv(weights(5, 4, 3, 2), dilations=[2, 3], pads=[2, 1, 2, 1]),
    "conv_same_upper": conv(weights(5, 4, 2, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv_same_lower": conv(weights(5, 4, 2, 3), auto_pad="SAME_LOWER", strides=[2, 2]),
    "conv_without_bias": one("Conv", "w", constants={"w": weights(3, 4, 1, 1)}),
    "depthwise": conv(weights(4, 1, 3, 3), group=4, pads=[1, 1, 1, 1], strides=[2, 1]),
    "depthwise_multiplied": conv(weights(8, 1, 3, 3), group=4),
    "conv_1d": conv(weights(5, 4, 3), shape=(1, 4, 9), pads=[1, 0], strides=[2]),
    "depthwise_1d": conv(weights(4, 1, 3), shape=(1, 4, 9), group=4),
    "conv_relu6": Case(
        [node("Conv", ["x", "w"], ["c"], "/c/Conv"), node("Clip", ["c", "lo", "hi"], ["y"], "/r")],
        {"w": 4 * weights(3, 4, 1, 1), "lo": scalar(0), "hi": scalar(6)},
    ),
    "transposed": conv(weights(4, 3, 2, 2), operator="ConvTranspose", strides=[2, 2]),
    "transposed_cut": conv(
        weights(4, 3, 4, 3), operator="ConvTranspose", strides=[2, 2], pads=[1, 1, 1, 0]
    ),
    "transposed_longer": conv(
        weights(4, 3, 3, 3), operator="ConvTranspose", strides=[2, 2], pads=[1, 1, 1, 1],
        output_padding=[1, 1],
    ),
    "gemm": one("Gemm", "w", "b", shape=(1, 12), transB=1,
                constants={"w": weights(5, 12), "b": weights(5)}),
    "gemm_plain": one("Gemm", "w", shape=(1, 12), constants={"w": weights(12, 5)}),
    "dense_over_time": Case(
        [node("MatMul", ["x", "w"], ["m"], "/fc/MatMul"),
         node("Add", ["b", "m"], ["y"], "/fc/Add")],
        {"w": weights(6, 5), "b": weights(5)}, (1, 4, 6),
    ),
    "matmul": Case(
        [node("Transpose", ["x"], ["t"], "/t", perm=[0, 2, 1]),
         node("MatMul", ["x", "t"], ["y"], "/m")], {}, (1, 4, 6),
    ),
    "max_pool": one("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    "max_pool_ceil": one("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "max_pool_1d": one("MaxPool", shape=(1, 3, 9), kernel_shape=[2], strides=[2]),
    "average_pool": one("AveragePool", kernel_shape=[2, 3], strides=[2, 1]),
    "average_pool_counts": one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1],
                               count_include_pad=1),
    "average_pool_padded": one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], tflm=False),
    "global_average": one("GlobalAveragePool"),
    "global_max": one("GlobalMaxPool"),
    "reduce_mean": one("ReduceMean", axes=[2, 3], keepdims=0),
    "reduce_mean_channels": one("ReduceMean", axes=[1], keepdims=1),
    "reduce_mean_18": one("ReduceMean", "axes", opset=18, constants={"axes": ints(-1, 2)}),
    "reduce_sum": one("ReduceSum", "axes", constants={"axes": ints(2)}, keepdims=0),
    "reduce_max": one("ReduceMax", axes=[2, 3]),
    "nearest": resize("nearest", "asymmetric", (14, 12), nearest_mode="floor"),
    "nearest_half": resize("nearest", "half_pixel", (14, 12)),
    "linear_half": resize("linear", "half_pixel", (14, 11)),
    "linear_pytorch": resize("linear", "pytorch_half_pixel", (14, 12)),
    "linear_corners": resize("linear", "align_corners", (13, 16)),
    "linear_plain": resize("linear", "asymmetric", (14, 12)),
    "add_channels": one("Add", "b", constants={"b": weights(4, 1, 1)}),
    "add_itself": Case([node("Relu", ["x"], ["r"], "/r"), node("Add", ["x", "r"], ["y"], "/a")]),
    "sub": one("Sub", "b", constants={"b": weights(1, 4, 1, 1)}),
    "mul": one("Mul", "b", constants={"b": weights(4, 1, 1)}),
    "mul_squeeze_excite": Case(
        [node("GlobalAveragePool", ["x"], ["g"], "/g"), node("Mul", ["x", "g"], ["y"], "/m")],
        steps=2,
    ),
    "min": one("Min", "b", constants={"b": scalar(0.4)}),
    "max": one("Max", "b", constants={"b": scalar(-0.4)}),
    "prelu": one("PRelu", "a", constants={"a": np.abs(weights(4, 1, 1))}),
    "relu": after("Relu"),
    "clip": after("Clip", "lo", "hi", lo=scalar(-0.5), hi=scalar(0.75)),
    "clip_6": after("Clip", "lo", "hi", lo=scalar(0), hi=scalar(6)),
    "leaky_relu": one("LeakyRelu", alpha=0.1),
    "hard_swish": one("HardSwish", steps=2),
    "hard_swish_in_two": Case(
        [node("HardSigmoid", ["x"], ["h"], "/h", alpha=1 / 6, beta=0.5),
         node("Mul", ["h", "x"], ["y"], "/m")], steps=2,
    ),
    "elu": one("Elu"),
    "gelu": one("Gelu", opset=20, tflm=False),
    "abs": one("Abs"),
    "exp": one("Exp", tflm=False),
    "sigmoid": one("Sigmoid", steps=2),
    "tanh": one("Tanh", steps=2),
    "softmax": one("Softmax", shape=(1, 9), steps=2),
    "softmax_channels": one("Softmax", axis=1, steps=2),
    "reshape": one("Reshape", "s", constants={"s": ints(1, 6, -1)}),
    "flatten": one("Flatten"),
    "squeeze": one("Squeeze", "a", shape=(1, 3, 1, 5), constants={"a": ints(2)}),
    "unsqueeze": one("Unsqueeze", "a", shape=(1, 3, 5), constants={"a": ints(1)}),
    "transpose": Case(
        [node("Transpose", ["x"], ["t"], "/t", perm=[0, 3, 1, 2]), node("Abs", ["t"], ["y"], "/a")]
    ),
    "concat": Case(
        [node("Relu", ["x"], ["r"], "/r"), node("Concat", ["x", "r"], ["y"], "/c", axis=1)]
    ),
    "pad": one("Pad", "p", constants={"p": ints(0, 0, 1, 0, 0, 0, 2, 3)}),
    "pad_value": one("Pad", "p", "v", constants={"p": ints(0, 0, 1, 0, 0, 0, 2, 3),
                                                 "v": scalar(0.5)}),
    "pad_reflect": one("Pad", "p", constants={"p": ints(0, 0, 1, 0, 0, 0, 2, 3)}, mode="reflect",
                       tflm=False),
    "slice": one("Slice", "s", "e", "a", "t", constants={"s": ints(1, -5), "e": ints(99, -1),
                                                         "a": ints(1, 2), "t": ints(2, 1)}),
    "split": Case(
        [node("Split", ["x", "n"], ["a", "b"], "/s", axis=1),
         node("Concat", ["b", "a"], ["y"], "/c", axis=1)], {"n": ints(1, 3)},
    ),
    "gather": one("Gather", "i", constants={"i": ints(2, 0, -1)}, axis=1),
    "gather_one": one("Gather", "i", constants={"i": np.array(-1, np.int64)}, axis=2),
    "dropout": Case(
        [node("Dropout", ["x"], ["d"], "/d"), node("Identity", ["d"], ["i"], "/i"),
         node("Relu", ["i"], ["y"], "/r")]
    ),
}  # fmt: skip


def samples(shape: tuple[int, ...], n: int = 12) -> Array:
    return np.random.default_rng(0).standard_normal((n, *shape[1:])).astype(np.float32)


def in_order(value: Array, shape: tuple[int, ...]) -> Array:
    """A value of ONNX's order of axes as a graph of channels-last shape has it."""
    if value.shape == shape:
        return value
    return np.moveaxis(value, 1, -1).reshape(shape)


def codes_of(graph: Graph, name: str, real: Array) -> Array:
    quant = graph[name].quant
    codes = np.rint(in_order(real, graph[name].shape) / np.float32(quant.scale0))
    return np.clip(codes + quant.zero_point0, -128, 127).astype(np.int8)


def check(content: bytes, case: Case, path: Path, kernels: SanitizedKernels) -> Graph:
    path.write_bytes(content)
    graph = load_model(path)
    simple = simplify(graph)
    for x in samples(case.shape, 3):
        codes = codes_of(graph, graph.inputs[0], x[None])
        y = evaluate(graph, {graph.inputs[0]: codes})[graph.outputs[0]]
        np.testing.assert_array_equal(
            evaluate(simple, {simple.inputs[0]: codes})[simple.outputs[0]], y
        )
        np.testing.assert_array_equal(kernels.run(simple, codes), y)
        if case.tflm:
            np.testing.assert_array_equal(tflm(as_tflite(file_graph(path)), codes).ravel(),
                                          y.ravel())  # fmt: skip
        wanted = codes_of(graph, graph.outputs[0], run_onnxruntime(content, x[None])[0])
        assert np.abs(y.astype(int) - wanted).max() <= case.steps
    return graph


def test_all_operators_are_here() -> None:
    used = {made.op_type for case in CASES.values() for made in case.nodes}
    assert used == set(CONVERTERS)


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str, tmp_path: Path, sanitized_kernels: SanitizedKernels) -> None:
    case = CASES[name]
    model = float_model(case.nodes, case.shape, case.constants, case.opset)
    unsigned = sorted(CASES).index(name) % 2
    content = quantized(
        model, samples(case.shape), "QUInt8" if unsigned else "QInt8", not unsigned, True,
        extra_options={"ForceQuantizeNoInputCheck": True, "ActivationSymmetric": case.symmetric},
    )  # fmt: skip
    operators = [made.op_type for made in onnx.load_model_from_string(content).graph.node]
    assert "QuantizeLinear" in operators
    check(content, case, tmp_path / "part.onnx", sanitized_kernels)
