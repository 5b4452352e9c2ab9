"""DEPTHWISE_CONV_2D: int8, per-channel weights, any depth multiplier, as TensorFlow Lite Micro.

Inputs: x [1, H, W, C], weights [1, KH, KW, K], bias [O] (or absent), rest [1, KH, KW, O-K] (or
absent); O = C * m, output channel o sees input channel o // m.  A partly trained layer keeps the
weights of its first K output channels in SRAM and the rest in flash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Graph, Op
from tinykit.ops import int16
from tinykit.ops.base import Address, Call, Cost, Field, Operator, Struct, Table
from tinykit.ops.conv2d import Conv2DAttributes, bias_field, check_sums, window_of
from tinykit.ops.convolution_gradient import convolution_gradient
from tinykit.ops.convolution_scales import joined_scales
from tinykit.ops.convolution_sums import ANY, sums_class, weight_blocks
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import activation_range, quantize_multipliers, requantize
from tinykit.ops.rows import RowForm, has_rows, row_call
from tinykit.ops.window import Window

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


def output_channels(graph: Graph, op: Op) -> int:
    """O: the channels of both weight blocks."""
    rest = rest_of(op)
    return graph[op.inputs[1]].shape[3] + (graph[rest].shape[3] if rest else 0)


def rest_of(op: Op) -> str:
    """The second weight block, or ""."""
    return op.inputs[3] if len(op.inputs) > 3 else ""


def output_multipliers(graph: Graph, op: Op) -> tuple[Array, Array]:
    """multiplier, shift per output channel (or one), in double as TFLM."""
    scale_x = graph[op.inputs[0]].quant.scale0
    scale_y = graph[op.outputs[0]].quant.scale0
    scales = joined_scales(graph, op.inputs[1], rest_of(op))
    return quantize_multipliers([scale_x * s / scale_y for s in scales])


def accumulators(x: Array, weights: Array, bias: Array | None, window: Window) -> Array:
    """x - zero_point [H, W, C], weights [1, KH, KW, O] -> int64 [OH, OW, O]."""
    height, width, channels = x.shape
    top, bottom, left, right = window.padding
    padded = np.pad(x, ((top, bottom), (left, right), (0, 0))).astype(np.int64)
    padded = np.repeat(padded, weights.shape[3] // channels, axis=2)
    oh, ow = window.output_size(height, width)
    acc = np.zeros((oh, ow, weights.shape[3]), np.int64)
    for ky in range(window.kernel[0]):
        for kx in range(window.kernel[1]):
            y0, x0 = ky * window.dilation[0], kx * window.dilation[1]
            rows = padded[y0 : y0 + (oh - 1) * window.stride[0] + 1 : window.stride[0]]
            acc += rows[:, x0 : x0 + (ow - 1) * window.stride[1] + 1 : window.stride[1]] * weights[
                0, ky, kx
            ].astype(np.int64)
    return acc if bias is None else acc + bias.astype(np.int64)


class DepthwiseConv2D(Operator[Conv2DAttributes]):
    kind = "depthwise_conv2d"
    cores = "ARMv6-M, ARMv7E-M, Helium"
    tflite = ("DEPTHWISE_CONV_2D",)
    int16 = ("DEPTHWISE_CONV_2D",)
    note = (
        "weights per tensor or per channel, any kernel, stride, dilation, multiplier; "
        "int4 weights become int8 and cost as much flash"
    )
    trainable = True

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        batch, height, width, channels = graph[op.inputs[0]].shape
        outputs = output_channels(graph, op)
        if batch != 1 or outputs % channels:
            raise ModelError(
                f"layer {op.name}: weights of {outputs} channels do not fit input "
                f"[{batch}, {height}, {width}, {channels}] (batch 1)"
            )
        oh, ow = window_of(graph, op).output_size(height, width)
        return ((1, oh, ow, outputs),)

    def channel_flow(self, graph: Graph, op: Op) -> Literal["fixed", "through", "mixes"]:
        same = output_channels(graph, op) == graph[op.inputs[0]].shape[3]
        return "through" if same else "fixed"

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        graph, y = run.graph, run.graph[op.outputs[0]]
        x = run[op.inputs[0]][0].astype(np.int32) - graph[op.inputs[0]].quant.zero_point0
        bias = run.value_or_none(op.inputs[2])
        acc = accumulators(x, run.joined(op.inputs[1], rest_of(op)), bias, window_of(graph, op))
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
        return Cost(macs=y.size * kh * kw, elements=y.size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, weights, y = graph[op.inputs[0]], graph[op.inputs[1]], graph[op.outputs[0]]
        rest = rest_of(op)
        multiplier, shift = output_multipliers(graph, op)
        activation, window = self.attributes(op).activation, window_of(graph, op)
        if y.dtype == "int16":
            geometry = window.struct((x.shape[1], x.shape[2]), (y.shape[1], y.shape[2]))
            return (int16.convolution_call(graph, op, geometry, (multiplier, shift), activation),)
        low, high = activation_range(activation, y.quant)
        fields: dict[str, Field] = {
            "window": window.struct((x.shape[1], x.shape[2]), (y.shape[1], y.shape[2])),
            "weights": Address(weights.name),
            "weights_rest": Address(rest) if rest else None,
            "bias": bias_field(graph, op),
            "multiplier": Table("int32_t", multiplier),
            "shift": Table("int8_t", shift),
            "input_channels": x.shape[3],
            "split": weights.shape[3],
            "output_channels": y.shape[3],
            "input_zero_point": x.quant.zero_point0,
            "output_zero_point": y.quant.zero_point0,
            "activation_min": low,
            "activation_max": high,
            "per_channel": int(len(multiplier) > 1),
            "sums": sums_class(graph, op, shift, axis=3),
        }
        direct = (
            window.kernel == (3, 3)
            and window.dilation == (1, 1)
            and x.shape[3] == y.shape[3]
            and min(graph[name].shape[3] for name in weight_blocks(op)) >= 4
            and window.overlaps((x.shape[1], x.shape[2]), (y.shape[1], y.shape[2]))
            and fields["sums"] != ANY
        )
        function = "tk_depthwise_conv2d_3x3_s8" if direct else "tk_depthwise_conv2d_s8"
        scratch = window.kernel[0] * (160 + 32 * (window.kernel[1] // 2 + 1))
        struct = Struct("tk_depthwise_conv2d", fields)
        return (Call(function, struct, (x.name, y.name, "$scratch"), scratch),)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        if not has_rows(x, y):
            return None
        window = window_of(graph, op)
        # A row by itself reads again what the rows above it have read.
        again = max(window.kernel[0] - window.stride[0], 0) * x.shape[2] * x.shape[3]
        call = row_call(self.lower(graph, op)[0])
        reads = {x.name: window.row_reach}
        # Whole tensors go by groups of channels, not from top to bottom.
        return RowForm(y.shape[1], reads, call, ordered=False, overhead=100 + 2 * again)

    def gradient(self, op: Op, tape: Tape) -> None:
        window = window_of(tape.graph, op)
        multipliers = output_multipliers(tape.graph, op)
        convolution_gradient(op, tape, window, self.attributes(op).activation, multipliers)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(2, 4))
        x, y = node.input(), node.output()
        node.expect(len(x.shape) == 4, f"input {x.name} is not [1, H, W, C]")
        weights = node.weights(1, axis=3, rank=4, int4=True)
        node.expect(weights.shape[0] == 1, f"weights {weights.name} are not [1, KH, KW, O]")
        bias = node.bias(2, weights.shape[3])
        stride = node.pair("StrideH", "StrideW")
        dilation = node.pair("DilationHFactor", "DilationWFactor")
        size, kernel = (x.shape[1], x.shape[2]), (weights.shape[1], weights.shape[2])
        padding = node.padding(size, kernel, stride, dilation)
        node.expect(
            y.shape[-1] <= 65535 and weights.shape[3] % x.shape[3] == 0,
            f"{weights.shape[3]} output channels are not a multiple of {x.shape[3]}",
        )
        attributes = Conv2DAttributes(stride, dilation, padding, node.activation)
        op = node.op(self.kind, (x.name, weights.name, bias), attributes)
        check_sums(node, op, output_multipliers, channel_axis=3)
        return (op,)


OPERATOR = DepthwiseConv2D()
