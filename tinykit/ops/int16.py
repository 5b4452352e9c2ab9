"""int16x8: int16 activations with zero point 0, int8 weights, int64 (or int32) biases.

What TensorFlow's converter writes for EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
in the arithmetic of TensorFlow Lite Micro.  Such tensors go through the same operators as int8
ones, as far as these say `int16`; here is what is different.  Inference only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Address, Call, Field, Struct, Table
from tinykit.ops.fixed_point import activation_range, multiply_by_quantized_multiplier
from tinykit.ops.registry import operator

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode

WIDE_LIMIT = 2**47  # of sums of 64 bits, for their rescaling
LARGEST_SHIFT = 7  # of their multipliers


def is_int16(graph: Graph) -> bool:
    """Whether activations of the model are int16: not just the state of an LSTM."""
    return any(
        graph[name].dtype == "int16"
        for op in graph.ops
        if operator(op.kind).int16 and op.kind != "read_variable"
        for name in op.outputs
    )


def refuse_int16(graph: Graph) -> None:
    """PlanError for a model with int16 activations: it infers only."""
    if is_int16(graph):
        raise PlanError(
            f"{graph.name} has int16 activations: such a model infers, it cannot learn",
            "leave out the update plan, or convert the model with int8 activations",
        )


# --- convolutions ---------------------------------------------------------------------------------


def is_narrow(graph: Graph, op: Op) -> bool:
    """Whether sums are 32 bits wide: with int32 biases."""
    return bool(op.inputs[2]) and graph[op.inputs[2]].dtype == "int32"


def multiply_wide(x: Array, multiplier: Array, shift: Array) -> Array:
    """round(x * multiplier * 2^(shift - 31)) with the multiplier's upper 15 bits, as int64.

    MultiplyByQuantizedMultiplier of int64: |x| < 2^47, shift <= 7; the result wraps to int32.
    """
    m, right = multiplier.astype(np.int64), 15 - shift.astype(np.int64)
    m = np.where(m < 0x7FFF0000, (m + (1 << 15)) >> 16, 0x7FFF)
    result = (x * m + (np.int64(1) << (right - 1))) >> right
    return np.asarray(result.astype(np.int32).astype(np.int64))


def finish_convolution(
    graph: Graph, op: Op, acc: Array, multipliers: tuple[Array, Array], activation: str
) -> Array:
    """int64 sums [..., O] to int16 outputs."""
    multiply = multiply_by_quantized_multiplier if is_narrow(graph, op) else multiply_wide
    low, high = activation_range(activation, graph[op.outputs[0]].quant, "int16")
    return np.clip(multiply(acc, *multipliers), low, high).astype(np.int16)


def convolution_call(
    graph: Graph,
    op: Op,
    window: Struct,
    multipliers: tuple[Array, Array],
    activation: str,
) -> Call:
    """tk_conv2d_s16 (for a fully connected layer as well), or tk_depthwise_conv2d_s16."""
    x, weights, y = graph[op.inputs[0]], graph[op.inputs[1]], graph[op.outputs[0]]
    depthwise = op.kind == "depthwise_conv2d"
    low, high = activation_range(activation, y.quant, "int16")
    channels, outputs = x.shape[-1], y.shape[-1]
    seen = weights.size // weights.shape[0]  # positions of a patch
    bias = graph[op.inputs[2]].value if op.inputs[2] else np.zeros(outputs)
    sizes = window.fields
    inside = sizes["pad_top"] == sizes["pad_left"] == 0 and all(
        sizes[f"output_{axis}"] == sizes[f"input_{axis}"] for axis in ("height", "width")
    )
    direct = not depthwise and seen == channels and channels % 2 == 0 and inside
    fields: dict[str, Field] = {
        "window": window,
        "weights": Address(weights.name),
        "bias": Table("int64_t", bias.astype(np.int64), "biases"),
        "multiplier": Table("int32_t", multipliers[0]),
        "shift": Table("int8_t", multipliers[1]),
        "input_channels": channels,
        "output_channels": outputs,
        "activation_min": low,
        "activation_max": high,
        "per_channel": int(len(multipliers[0]) > 1),
        "narrow": int(is_narrow(graph, op)),
        "direct": int(direct),
    }
    struct = Struct("tk_convolution16", fields)
    if depthwise:
        return Call("tk_depthwise_conv2d_s16", struct, (x.name, y.name))
    pixels = min(2, cast(int, sizes["output_width"]))  # that the kernel computes at once
    scratch = 4 if direct else 4 * -(-seen // 2) * pixels
    return Call("tk_conv2d_s16", struct, (x.name, y.name, "$scratch"), scratch)


def check_convolution(
    node: TfliteNode, op: Op, multipliers: tuple[Array, Array], channel_axis: int
) -> None:
    """Refuse sums, and multipliers, that could leave what the arithmetic holds."""
    graph = Graph("", node.tensors, (), (), ())
    weights = graph[op.inputs[1]]
    node.expect(
        op.kind != "depthwise_conv2d" or not is_narrow(graph, op),
        "biases of 32 bits; TensorFlow Lite Micro takes 64 bits here",
    )
    axes = tuple(i for i in range(len(weights.shape)) if i != channel_axis)
    bound = 2**15 * np.abs(weights.value.astype(np.int64)).sum(axis=axes)
    bits = 32 if is_narrow(graph, op) else 48
    if op.inputs[2]:
        bias = graph[op.inputs[2]].value.astype(np.int64)
        bound = bound + np.abs(np.clip(bias, -WIDE_LIMIT, WIDE_LIMIT))
    node.expect(
        int(bound.max()) < 2 ** (bits - 1),
        f"sums of channel {int(bound.argmax())} can exceed {bits} bits",
        "use fewer input channels or a smaller kernel"
        + (", or convert with biases of 64 bits" if bits == 32 else ""),
    )
    node.expect(
        int(multipliers[1].max()) <= LARGEST_SHIFT,
        "the output's scale is too small for those of input and weights",
    )
