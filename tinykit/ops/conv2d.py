"""CONV_2D: int8 convolution, NHWC, per-channel weights, as TensorFlow Lite Micro computes it.

Inputs: x [1, H, W, C], weights [O, KH, KW, K], bias [O] (or absent), rest [O, KH, KW, C-K] (or
absent).  `rest` holds the weights of the input channels behind the first K: a partly trained
layer keeps its first K input channels in SRAM and the rest in flash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops import int16
from tinykit.ops.base import Address, Call, Cost, Field, Operator, Struct, Table
from tinykit.ops.convolution_gradient import convolution_gradient
from tinykit.ops.convolution_sums import ANY, folded_bias, neighbours_fit, sums_class
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import activation_range, exact, quantize_multipliers, requantize
from tinykit.ops.rows import RowForm, has_rows, row_call
from tinykit.ops.window import Pair, Window

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

LONGEST_ROW = 65535  # a window's sizes are uint16_t


@dataclass(frozen=True)
class Conv2DAttributes(Attributes):
    """stride, dilation: (height, width); padding: (top, bottom, left, right)."""

    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    activation: str = "none"


def window_of(graph: Graph, op: Op) -> Window:
    """The window of a convolution from its attributes and weights."""
    attributes = op.attributes
    assert isinstance(attributes, Conv2DAttributes)
    kernel = graph[op.inputs[1]].shape[1:3]
    return Window(
        (kernel[0], kernel[1]), attributes.stride, attributes.dilation, attributes.padding
    )


def output_multipliers(graph: Graph, op: Op) -> tuple[Array, Array]:
    """multiplier, shift per output channel (or one): all in double, as TFLM's convolutions."""
    scale_x = graph[op.inputs[0]].quant.scale0
    scale_y = graph[op.outputs[0]].quant.scale0
    return quantize_multipliers([scale_x * s / scale_y for s in graph[op.inputs[1]].quant.scale])


def accumulators(x: Array, weights: Array, bias: Array | None, window: Window) -> Array:
    """x - zero_point [H, W, C], weights [O, KH, KW, C] -> int64 [OH, OW, O]."""
    patches = window.patches(exact(x))
    oh, ow = patches.shape[:2]
    flat = patches.reshape(oh * ow, -1) @ exact(weights).reshape(weights.shape[0], -1).T
    acc: Array = flat.astype(np.int64).reshape(oh, ow, -1)
    return acc if bias is None else acc + bias.astype(np.int64)


class Conv2D(Operator[Conv2DAttributes]):
    kind = "conv2d"
    cores = "ARMv6-M, DSP, Helium"
    tflite = ("CONV_2D",)
    int16 = ("CONV_2D",)
    note = (
        "weights per tensor or per channel, any kernel, stride, dilation, padding; "
        "int4 weights become int8 and cost as much flash"
    )
    trainable = True
    flow = "mixes"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        batch, height, width, channels = graph[op.inputs[0]].shape
        weights = graph[op.inputs[1]].shape
        rest = graph[op.inputs[3]].shape[3] if len(op.inputs) > 3 and op.inputs[3] else 0
        if batch != 1 or weights[3] + rest != channels:
            raise ModelError(
                f"layer {op.name}: weights {list(weights)} do not fit input "
                f"[{batch}, {height}, {width}, {channels}] (batch 1, no groups)"
            )
        oh, ow = window_of(graph, op).output_size(height, width)
        return ((1, oh, ow, weights[0]),)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        graph, y = run.graph, run.graph[op.outputs[0]]
        x = run[op.inputs[0]][0].astype(np.int32) - graph[op.inputs[0]].quant.zero_point0
        bias = run.value_or_none(op.inputs[2])
        rest = op.inputs[3] if len(op.inputs) > 3 else ""
        weights = run.joined(op.inputs[1], rest)
        acc = accumulators(x, weights, bias, window_of(graph, op))
        multiplier, shift = output_multipliers(graph, op)
        activation = self.attributes(op).activation
        if y.dtype == "int16":
            out = int16.finish_convolution(graph, op, acc, (multiplier, shift), activation)
            return (out[None],)
        low, high = activation_range(activation, y.quant)
        return (requantize(acc, multiplier, shift, y.quant.zero_point0, low, high)[None],)

    def cost(self, graph: Graph, op: Op) -> Cost:
        y = graph[op.outputs[0]]
        _, kh, kw, _ = graph[op.inputs[1]].shape
        return Cost(macs=y.size * kh * kw * graph[op.inputs[0]].shape[3], elements=y.size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        y = graph[op.outputs[0]]
        size = y.shape[1] * y.shape[2]
        if window_of(graph, op).pointwise and size <= LONGEST_ROW:
            # All pixels are one row: fewer are left over when they are taken in fours.
            return (self._call(graph, op, (1, size), (1, size)),)
        return (self._call(graph, op, graph[op.inputs[0]].shape[1:3], y.shape[1:3]),)

    def _call(self, graph: Graph, op: Op, size: tuple[int, ...], output: tuple[int, ...]) -> Call:
        struct = window_of(graph, op).struct((size[0], size[1]), (output[0], output[1]))
        activation = self.attributes(op).activation
        multipliers = output_multipliers(graph, op)
        if graph[op.inputs[0]].dtype == "int16":
            return int16.convolution_call(graph, op, struct, multipliers, activation)
        return convolution_call(graph, op, struct, output[1], multipliers, activation)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        if not has_rows(x, y):
            return None
        reach = window_of(graph, op).row_reach
        call = row_call(self._call(graph, op, x.shape[1:3], y.shape[1:3]))
        return RowForm(y.shape[1], {x.name: reach}, call)

    def gradient(self, op: Op, tape: Tape) -> None:
        window = window_of(tape.graph, op)
        multipliers = output_multipliers(tape.graph, op)
        convolution_gradient(op, tape, window, self.attributes(op).activation, multipliers)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(2, 4))
        x, _ = node.input(), node.output()
        node.expect(len(x.shape) == 4, f"input {x.name} is not [1, H, W, C]")
        weights = node.weights(1, axis=0, rank=4, int4=True)
        node.expect(
            weights.shape[3] == x.shape[3] and max(weights.shape) <= node.LARGEST,
            f"weights {list(weights.shape)} do not fit input {list(x.shape)}",
            "grouped convolutions are not supported",
        )
        bias = node.bias(2, weights.shape[0])
        stride = node.pair("StrideH", "StrideW")
        dilation = node.pair("DilationHFactor", "DilationWFactor")
        size, kernel = (x.shape[1], x.shape[2]), (weights.shape[1], weights.shape[2])
        padding = node.padding(size, kernel, stride, dilation)
        attributes = Conv2DAttributes(stride, dilation, padding, node.activation)
        op = node.op(self.kind, (x.name, weights.name, bias), attributes)
        check_sums(node, op, output_multipliers, channel_axis=0)
        return (op,)


def check_sums(
    node: TfliteNode,
    op: Op,
    multipliers: Callable[[Graph, Op], tuple[Array, Array]],
    channel_axis: int,
) -> None:
    """Refuse weights whose sums could leave what the arithmetic holds."""
    graph = Graph("", node.tensors, (), (), ())
    if node.int16:
        int16.check_convolution(node, op, multipliers(graph, op), channel_axis)
    else:
        node.check_accumulators(graph[op.inputs[0]], graph[op.inputs[1]], channel_axis)


def convolution_call(
    graph: Graph,
    op: Op,
    window: Struct,
    row: int,
    multipliers: tuple[Array, Array],
    activation: str,
) -> Call:
    """tk_conv2d_s8 for a convolution or a fully connected layer (a 1x1 convolution).

    row: pixels of a row.  Where nothing of the layer learns, the
    biases contain the part of the input's zero point.
    """
    x, weights, y = graph[op.inputs[0]], graph[op.inputs[1]], graph[op.outputs[0]]
    rest = op.inputs[3] if len(op.inputs) > 3 else ""
    low, high = activation_range(activation, y.quant)
    channels, split = x.shape[-1], weights.shape[-1]
    taps = weights.size // (weights.shape[0] * split)
    pixels = 4 if row >= 4 else 1  # that a kernel computes at once
    blocks = [taps * n for n in (split, channels - split)]
    wide = sum(-(-n // 2) * 2 for n in blocks)  # positions of a patch of int16, in pairs
    narrow = sum(-(-n // 16) * 16 for n in blocks)  # of int8, in sixteens (Helium)
    multiplier, shift = multipliers
    if len(multiplier) > 1:
        multiplier, shift = in_fours(multiplier), in_fours(shift)
    folded = folded_bias(graph, op)
    zero_point = x.quant.zero_point0
    if any(graph[name].order != "pairs" for name in (weights.name, rest) if name):
        raise ValueError(f"{op.name}: weights are not stored in pairs of channels")
    fields: dict[str, Field] = {
        "window": window,
        "weights": Address(weights.name),
        "weights_rest": Address(rest) if rest else None,
        "bias": bias_field(graph, op, folded),
        "multiplier": Table("int32_t", multiplier),
        "shift": Table("int8_t", shift),
        "input_channels": channels,
        "split": split,
        "output_channels": y.shape[-1],
        "input_zero_point": zero_point if folded is None else 0,
        "output_zero_point": y.quant.zero_point0,
        "padding": zero_point,
        "activation_min": low,
        "activation_max": high,
        "per_channel": int(len(multiplier) > 1),
        "sums": sums_class(graph, op, multipliers[1], axis=0),
        "neighbours": int(folded is not None and neighbours_fit(graph, op)),
    }
    return Call(
        "tk_conv2d_any_s8" if fields["sums"] == ANY else "tk_conv2d_s8",
        Struct("tk_conv2d", fields),
        (x.name, y.name, "$scratch"),
        scratch=max(2 * pixels * wide, pixels * narrow),
        scratch_over_input=x.size == channels and taps == 1 and not _sees_padding(window),
    )


def _sees_padding(window: Struct) -> bool:
    """Whether there are outputs whose single tap lies outside the input."""
    sizes = {name: cast(int, value) for name, value in window.fields.items()}
    return any(
        sizes[pad] > 0
        or (sizes[f"output_{axis}"] - 1) * sizes[f"stride_{axis}"] >= sizes[f"input_{axis}"]
        for axis, pad in (("height", "pad_top"), ("width", "pad_left"))
    )


def bias_field(graph: Graph, op: Op, folded: Array | None = None) -> Field:
    """The descriptor's biases: int32 for each output channel, zeros where the layer has none."""
    if folded is not None:
        return Table("int32_t", in_fours(folded), "biases")
    if op.inputs[2]:
        return Address(op.inputs[2])
    zeros = np.zeros(graph[op.outputs[0]].shape[-1], np.int32)
    return Table("int32_t", in_fours(zeros), "biases")


def in_fours(values: Array) -> Array:
    """Filled up with zeros to a multiple of four, of which kernels read whole ones."""
    return np.pad(values, (0, -len(values) % 4))


OPERATOR = Conv2D()
