"""FULLY_CONNECTED: int8, per-tensor or per-channel weights, over the last axis of its input.

Inputs: x [..., C], weights [O, K], bias [O] (or absent), rest [O, C-K] (or absent): a partly
trained layer keeps the weights of its first K inputs in SRAM and the rest in flash.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops import int16
from tinykit.ops.base import Call, Cost, Operator
from tinykit.ops.conv2d import check_sums, convolution_call
from tinykit.ops.convolution_gradient import convolution_gradient
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import activation_range, exact, quantize_multipliers, requantize
from tinykit.ops.reshape import ReshapeAttributes
from tinykit.ops.window import Window

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


@dataclass(frozen=True)
class FullyConnectedAttributes(Attributes):
    activation: str = "none"


def output_multipliers(graph: Graph, op: Op) -> tuple[Array, Array]:
    """multiplier, shift per output channel, or one.

    As TFLM: per-channel ones in doubles; a per-tensor one from the float32 product of the input's
    and the weights' scale, divided in double (GetQuantizedConvolutionMultipler).
    """
    scale_x = graph[op.inputs[0]].quant.scale0
    scale_y = graph[op.outputs[0]].quant.scale0
    scales = graph[op.inputs[1]].quant.scale
    if len(scales) > 1:
        return quantize_multipliers([scale_x * s / scale_y for s in scales])
    return quantize_multipliers([float(np.float32(scale_x) * np.float32(scales[0])) / scale_y])


class FullyConnected(Operator[FullyConnectedAttributes]):
    kind = "fully_connected"
    cores = "ARMv6-M, DSP, Helium"
    tflite = ("FULLY_CONNECTED",)
    int16 = ("FULLY_CONNECTED",)
    note = (
        "weights per tensor or per channel, any number of rows; "
        "int4 weights become int8 and cost as much flash"
    )
    trainable = True
    flow = "mixes"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        x, weights = graph[op.inputs[0]].shape, graph[op.inputs[1]].shape
        rest = graph[op.inputs[3]].shape[1] if len(op.inputs) > 3 and op.inputs[3] else 0
        if weights[1] + rest != x[-1]:
            raise ModelError(f"layer {op.name}: weights {list(weights)} do not fit input {list(x)}")
        return ((*x[:-1], weights[0]),)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        graph, y = run.graph, run.graph[op.outputs[0]]
        x = run[op.inputs[0]].astype(np.int32) - graph[op.inputs[0]].quant.zero_point0
        weights = run.joined(op.inputs[1], op.inputs[3] if len(op.inputs) > 3 else "")
        acc = (exact(x).reshape(-1, x.shape[-1]) @ exact(weights).T).astype(np.int64)
        bias = run.value_or_none(op.inputs[2])
        if bias is not None:
            acc = acc + bias.astype(np.int64)
        multiplier, shift = output_multipliers(graph, op)
        activation = self.attributes(op).activation
        if y.dtype == "int16":
            out = int16.finish_convolution(graph, op, acc, (multiplier, shift), activation)
            return (out.reshape(y.shape),)
        low, high = activation_range(activation, y.quant)
        out = requantize(acc, multiplier, shift, y.quant.zero_point0, low, high)
        return (out.reshape(y.shape),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        y = graph[op.outputs[0]]
        return Cost(macs=y.size * graph[op.inputs[0]].shape[-1], elements=y.size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x = graph[op.inputs[0]]
        rows = x.size // x.shape[-1]
        window = Window((1, 1)).struct((1, rows), (1, rows))
        activation = self.attributes(op).activation
        multipliers = output_multipliers(graph, op)
        if x.dtype == "int16":
            return (int16.convolution_call(graph, op, window, multipliers, activation),)
        return (convolution_call(graph, op, window, rows, multipliers, activation),)

    def gradient(self, op: Op, tape: Tape) -> None:
        multipliers = output_multipliers(tape.graph, op)
        activation = self.attributes(op).activation
        convolution_gradient(op, tape, Window((1, 1)), activation, multipliers)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(2, 4))
        node.expect(node.option("WeightsFormat") == 0, "shuffled weights are not supported")
        x = node.input()
        weights = node.weights(1, axis=0, rank=2, int4=True)
        bias = node.bias(2, weights.shape[0])
        channels, outputs = weights.shape[1], weights.shape[0]
        rows = x.size // channels
        node.shape_output(
            (*x.shape[:-1], outputs) if node.option("KeepNumDims") else (rows, outputs)
        )
        y = node.output()
        node.expect(
            rows * channels == x.size and rows * outputs == y.size and rows <= 65535,
            f"weights {list(weights.shape)} do not fit input {list(x.shape)}, "
            f"output {list(y.shape)}",
        )
        attributes = FullyConnectedAttributes(node.activation)
        op = node.op(self.kind, (x.name, weights.name, bias), attributes)
        check_sums(node, op, output_multipliers, channel_axis=0)
        if (*x.shape[:-1], outputs) == y.shape and x.shape[-1] == channels:
            return (op,)
        # The input counts as [rows, channels], whatever its shape.
        flat_x = node.add(replace(x, name=f"{y.name}/rows", shape=(rows, channels)))
        flat_y = node.add(replace(y, name=f"{y.name}/flat", shape=(rows, outputs)))
        names = [f"{node.name}/{part}" for part in ("rows", "shape")]
        return (
            Op("reshape", names[0], (x.name,), (flat_x,), ReshapeAttributes((rows, channels)),
               layer=names[0]),
            Op(self.kind, node.name, (flat_x, weights.name, bias), (flat_y,), attributes,
               layer=node.name),
            Op("reshape", names[1], (flat_y,), (y.name,), ReshapeAttributes(y.shape),
               layer=names[1]),
        )  # fmt: skip


OPERATOR = FullyConnected()
