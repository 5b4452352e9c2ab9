"""How each ONNX operator becomes TFLite operators: layers, elementwise and pointwise ones.

Specification: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tinykit.importers import onnx_movement as movement
from tinykit.importers import onnx_windows as windows
from tinykit.importers.onnx import Importer
from tinykit.importers.onnx_file import OnnxNode
from tinykit.importers.onnx_values import Codes, Value
from tinykit.ir import Array

Converter = Callable[[Importer, OnnxNode], None]

PROBABILITY = Codes(1 / 256, -128)  # of SOFTMAX and LOGISTIC
TANGENT = Codes(1 / 128, 0)


# --- products -------------------------------------------------------------------------------------


def _gemm(imp: Importer, node: OnnxNode) -> None:
    x, w = imp.input(node), imp.input(node, 1)
    for name in ("alpha", "beta"):
        node.expect(node.real(name, 1.0) == 1, f"{name} is not 1")
    node.expect(node.integer("transA") == 0, "transA is not supported")
    turned = node.integer("transB") == 1
    node.expect(w.data is not None and w.rank == 2, "weights must be a constant matrix")
    assert w.data is not None
    data = w.data if turned else w.data.T
    _dense(imp, node, x, w, data, 0 if turned else 1)


def _matmul(imp: Importer, node: OnnxNode) -> None:
    a, b = imp.input(node), imp.input(node, 1)
    if b.data is not None and b.rank == 2 and a.data is None:
        _dense(imp, node, a, b, b.data.T, 1)
        return
    node.expect(min(a.rank, b.rank) > 1, "multiplies a vector")
    plain = [tuple(range(v.rank)) for v in (a, b)]
    inputs = [imp.stored(v, order) for v, order in zip((a, b), plain, strict=True)]
    rank = len(imp.shape(node, node.outputs[0]))
    imp.made(node, "BATCH_MATMUL", inputs, tuple(range(rank)), imp.output_codes(node))


def _dense(imp: Importer, node: OnnxNode, x: Value, w: Value, data: Array, axis: int) -> None:
    """FULLY_CONNECTED; data: weights [O, I]; axis: of w's channels."""
    if w.channel_scales is not None:
        node.expect(w.channel_scales[0] == axis, "weights have a scale for each input channel")
    node.expect(x.shape[-1] == data.shape[1], f"weights {w.shape} do not fit input {x.shape}")
    order = tuple(range(x.rank))
    index, data = movement.columns(imp, x, data)
    inputs = [index, imp.weights(w, data, 0)]
    bias = windows.bias(imp, node, x, w, data.shape[0])
    inputs += [] if bias is None else [bias]
    options: dict[str, int | float] = {"KeepNumDims": 1}
    imp.made(node, "FULLY_CONNECTED", inputs, order, imp.output_codes(node), options)


# --- elementwise ----------------------------------------------------------------------------------


def _elementwise(builtin: str, compares: bool = False) -> Converter:
    def convert(imp: Importer, node: OnnxNode) -> None:
        node.expect(len(node.inputs) == 2, f"{len(node.inputs)} inputs; supported are two")
        values = [imp.input(node, i) for i in range(2)]
        codes = imp.target(node) if compares else imp.output_codes(node)
        if compares:
            computed = next((v for v in values if v.data is None), values[0])
            codes = codes or computed.codes
            values = [imp.recoded(node, v, codes) for v in values]
        assert codes is not None
        rank = len(imp.shape(node, node.outputs[0]))
        full = [v for v in values if v.rank == rank and v.data is None]
        placed = [v for v in full if v.stored] or full
        order = placed[0].order if placed else tuple(range(rank))
        inputs = [imp.stored(movement.widened(imp, node, v, rank), order) for v in values]
        imp.made(node, builtin, inputs, order, codes)

    return convert


# --- functions of one value -----------------------------------------------------------------------


def _pointwise(
    builtin: str,
    options: Callable[[OnnxNode], dict[str, int | float]] = lambda node: {},
    codes: Codes | None = None,
) -> Converter:
    """codes: what TFLite prescribes for the output."""

    def convert(imp: Importer, node: OnnxNode) -> None:
        x = imp.input(node)
        made = codes or imp.output_codes(node)
        y = imp.made(node, builtin, [imp.stored(x, x.order)], x.order, made, options(node))
        y.fixed = codes is not None

    return convert


def _hard_sigmoid(imp: Importer, node: OnnxNode) -> None:
    """Half of a HardSwish, as exporters and onnxruntime's optimizer write it."""
    x = imp.input(node)
    alpha, beta = node.real("alpha", 0.2), node.real("beta", 0.5)
    node.expect(
        math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5,
        f"alpha is {alpha:g}, beta {beta:g}",
        "supported is x · HardSigmoid(x) with alpha 1/6 and beta 0.5: HardSwish",
    )
    imp.known(node, Value(node.place, x.shape, x.codes, gate_of=x))


def _mul(imp: Importer, node: OnnxNode) -> None:
    a, b = imp.input(node), imp.input(node, 1)
    x, gate = (b, a) if a.gate_of is not None else (a, b)
    if gate.gate_of is x:
        index = imp.stored(x, x.order)
        imp.made(node, "HARD_SWISH", [index], x.order, imp.output_codes(node))
    else:
        _elementwise("MUL")(imp, node)


def _leaky(node: OnnxNode) -> dict[str, int | float]:
    return {"Alpha": node.real("alpha", 0.01)}


def _elu(node: OnnxNode) -> dict[str, int | float]:
    node.expect(node.real("alpha", 1.0) == 1, "alpha is not 1")
    return {}


def _gelu(node: OnnxNode) -> dict[str, int | float]:
    return {"Approximate": int(node.text("approximate", "none") == "tanh")}


def _softmax(imp: Importer, node: OnnxNode) -> None:
    x = imp.input(node)
    axis = node.integer("axis", -1)
    node.expect(-x.rank <= axis < x.rank, f"no axis {axis} in {list(x.shape)}")
    axis %= x.rank
    order = x.order
    if order[-1] != axis:
        order = (*(i for i in range(x.rank) if i != axis), axis)
    y = imp.made(node, "SOFTMAX", [imp.stored(x, order)], order, PROBABILITY, {"Beta": 1.0})
    y.fixed = True


def _relu(imp: Importer, node: OnnxNode) -> None:
    x = imp.input(node)
    imp.made(node, "RELU", [imp.stored(x, x.order)], x.order, imp.target(node) or x.codes)


def _clip(imp: Importer, node: OnnxNode) -> None:
    """Nothing where the codes hold no more, else RELU, RELU6 or the larger, the smaller of two."""
    x = imp.input(node)
    low, high = imp.number(node, 1, -math.inf), imp.number(node, 2, math.inf)
    node.expect(low <= high, f"clips to {low:g} … {high:g}")
    least, most = x.codes.of(low), x.codes.of(high)
    if (least, most) == (-128, 127):
        imp.known(node, x)
        return
    index = imp.stored(x, x.order)
    if low == 0 and (high == 6 or most == 127):
        imp.made(node, "RELU6" if high == 6 else "RELU", [index], x.order, x.codes)
        return
    for builtin, code in (("MAXIMUM", least), ("MINIMUM", most)):
        if code not in (-128, 127):
            limit = imp.constant("limit", np.full((1,) * x.rank, code, np.int8), x.codes)
            made = imp.made(node, builtin, [index, limit], x.order, x.codes)
            index = imp.stored(made, x.order)


def _alias(imp: Importer, node: OnnxNode) -> None:
    if node.has(0) and node.inputs[0] in imp.values:
        imp.known(node, imp.values[node.inputs[0]])


CONVERTERS: dict[str, Converter] = {
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MaxPool": windows.pool("MAX_POOL_2D"),
    "AveragePool": windows.pool("AVERAGE_POOL_2D"),
    "GlobalAveragePool": windows.global_pool("MEAN"),
    "GlobalMaxPool": windows.global_pool("REDUCE_MAX"),
    "Resize": windows.resize,
    "ReduceMean": movement.reduce("MEAN"),
    "ReduceSum": movement.reduce("SUM"),
    "ReduceMax": movement.reduce("REDUCE_MAX"),
    "Add": _elementwise("ADD"),
    "Sub": _elementwise("SUB"),
    "Mul": _mul,
    "Min": _elementwise("MINIMUM", compares=True),
    "Max": _elementwise("MAXIMUM", compares=True),
    "PRelu": _elementwise("PRELU"),
    "Relu": _relu,
    "Clip": _clip,
    "LeakyRelu": _pointwise("LEAKY_RELU", _leaky),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _pointwise("HARD_SWISH"),
    "Elu": _pointwise("ELU", _elu),
    "Gelu": _pointwise("GELU", _gelu),
    "Abs": _pointwise("ABS"),
    "Exp": _pointwise("EXP"),
    "Sigmoid": _pointwise("LOGISTIC", codes=PROBABILITY),
    "Tanh": _pointwise("TANH", codes=TANGENT),
    "Softmax": _softmax,
    "Reshape": movement.reshape,
    "Flatten": movement.reshape,
    "Squeeze": movement.reshape,
    "Unsqueeze": movement.reshape,
    "Transpose": movement.transpose,
    "Concat": movement.concat,
    "Pad": movement.pad,
    "Slice": movement.slice_,
    "Split": movement.split,
    "Gather": movement.gather,
    "Identity": _alias,
    "Dropout": _alias,
}
