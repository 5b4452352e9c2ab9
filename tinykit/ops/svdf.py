"""SVDF: int8, a rank-one filter bank over time, as TensorFlow Lite Micro computes it.

Inputs: x [1, C], weights [F, K], bias [F / rank] or absent, rest [F, C-K] or absent (a partly
trained layer), time int16 [F, M], state int16 [1, M * F].  Each run shifts the state's rows of M
by one and puts the new feature, weights * x, at their end; output u is the sum over the rows of
its `rank` filters of state * time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Address, Call, Cost, Operator, Struct
from tinykit.ops.conv2d_input_grad import InputGradAttributes
from tinykit.ops.convolution_gradient import activation_gradient
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import (
    exact,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    requantize,
)
from tinykit.ops.layer_scales import LayerScales
from tinykit.ops.svdf_grad import SvdfGradAttributes
from tinykit.ops.update import UpdateAttributes
from tinykit.ops.weight_update import WeightUpdateAttributes
from tinykit.ops.window import Window

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

F = np.float32
WEIGHTS, BIAS, REST, TIME, STATE = range(1, 6)  # places among the inputs


@dataclass(frozen=True)
class SvdfAttributes(Attributes):
    """rank: filters that make one output."""

    rank: int = 1


def wrapped(x: Array) -> Array:
    """What 32 bits keep."""
    return np.asarray((x.astype(np.int64) + 2**31) % 2**32 - 2**31)


class Svdf(Operator[SvdfAttributes]):
    kind = "svdf"
    tflite = ("SVDF",)
    note = "int8 with an int16 state, any rank; its feature weights and bias can learn"
    trainable = True

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return ((1, graph[op.inputs[WEIGHTS]].shape[0] // self.attributes(op).rank),)

    def _feature(self, graph: Graph, op: Op) -> tuple[int, int]:
        """(multiplier, shift) of the features; all in float32, as PrepareSvdf does it."""
        x, weights, state = (graph[op.inputs[i]].quant.scale0 for i in (0, WEIGHTS, STATE))
        return quantize_multiplier(float(F(x) * F(weights) / F(state)))

    def _output(self, graph: Graph, op: Op) -> tuple[int, int]:
        state, time = (graph[op.inputs[i]].quant.scale0 for i in (STATE, TIME))
        return quantize_multiplier(float(F(state) * F(time) / F(graph[op.outputs[0]].quant.scale0)))

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        graph, y = run.graph, run.graph[op.outputs[0]]
        weights, time = run.joined(op.inputs[WEIGHTS], op.inputs[REST]), run[op.inputs[TIME]]
        filters, memory = time.shape
        x = run[op.inputs[0]].astype(np.int32) - graph[op.inputs[0]].quant.zero_point0
        acc = (exact(weights) @ exact(x).reshape(-1)).astype(np.int64)
        multiplier, shift = self._feature(graph, op)
        feature = multiply_by_quantized_multiplier(acc, np.array(multiplier), np.array(shift))
        state = np.empty((filters, memory), np.int16)
        state[:, :-1] = run[op.inputs[STATE]].reshape(filters, memory)[:, 1:]
        state[:, -1] = np.clip(feature, -32768, 32767)
        total = (state.astype(np.int64) * time).sum(axis=1).reshape(y.size, -1).sum(axis=1)
        bias = run.value_or_none(op.inputs[BIAS])
        total = wrapped(total if bias is None else total + bias)
        multiplier, shift = self._output(graph, op)
        zero = y.quant.zero_point0
        out = requantize(total, np.array(multiplier), np.array(shift), zero, -128, 127)
        return out.reshape(y.shape), state.reshape(graph[op.inputs[STATE]].shape)

    def cost(self, graph: Graph, op: Op) -> Cost:
        x, time = graph[op.inputs[0]], graph[op.inputs[TIME]]
        return Cost(macs=time.shape[0] * x.size + time.size, elements=2 * time.shape[0])

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, weights, time = (graph[op.inputs[i]] for i in (0, WEIGHTS, TIME))
        bias, rest, y = op.inputs[BIAS], op.inputs[REST], graph[op.outputs[0]]
        feature, output = self._feature(graph, op), self._output(graph, op)
        struct = Struct(
            "tk_svdf",
            {
                "weights": Address(weights.name),
                "weights_rest": Address(rest) if rest else None,
                "bias": Address(bias) if bias else None,
                "time": Address(time.name),
                "feature_multiplier": feature[0],
                "output_multiplier": output[0],
                "inputs": x.size,
                "split": weights.shape[1],
                "filters": time.shape[0],
                "memory": time.shape[1],
                "rank": self.attributes(op).rank,
                "input_zero_point": x.quant.zero_point0,
                "output_zero_point": y.quant.zero_point0,
                "feature_shift": feature[1],
                "output_shift": output[1],
            },
        )
        return (Call("tk_svdf_s8", struct, (x.name, op.inputs[STATE], y.name)),)

    def gradient(self, op: Op, tape: Tape) -> None:
        """Within this run: what the state holds from earlier ones is a constant.

        The time weights do not learn.  Features that saturate pass their gradient straight on.
        """
        graph = tape.graph
        x, weights, bias, rest, time = (op.inputs[i] for i in range(5))
        scales = {name: graph[name].quant.scale0 for name in (x, weights, time, op.inputs[STATE])}
        state = scales[op.inputs[STATE]]
        gradient = activation_gradient(op, tape, "none")
        filters = graph[time].shape[0]
        if bias and tape.trains(bias):
            y = graph[op.outputs[0]].quant.scale0
            of_sums = _layer_scales(state, y, scales[time], self._output(graph, op))
            tape.update("bias_update", op, (gradient,), bias, UpdateAttributes(scales=of_sums))
        if not (tape.wants(x) or tape.trains(weights)):
            return
        attributes = SvdfGradAttributes(self.attributes(op).rank)
        gradient = tape.emit("svdf_grad", op, (gradient, time), (1, filters), attributes)
        window, size = Window((1, 1)), (1, 1)
        of_features = _layer_scales(scales[x], state, scales[weights], self._feature(graph, op))
        if tape.wants(x):  # before the update: the gradient is that of the old weights
            shape = graph[x].shape
            inner = InputGradAttributes(window, size, size, shape, of_features)
            inputs = (gradient, weights, rest)
            tape.contribute(x, tape.emit("conv2d_input_grad", op, inputs, shape, inner))
        if tape.trains(weights):
            update = WeightUpdateAttributes(
                scales=of_features, window=window, input_size=size, output_size=size
            )
            tape.update("conv2d_update", op, (gradient, x), weights, update)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(3, 6))
        x, y = node.input(), node.output()
        weights = node.weights(1, axis=0, rank=2)
        filters, channels = weights.shape
        time = node.constant_tensor(2, ("int16",))
        rank = node.option("Rank")
        node.expect(not weights.quant.per_channel, f"weights {weights.name} have several scales")
        node.expect(
            len(time.shape) == 2 and time.shape[0] == filters and time.quant.zero_point == (0,),
            f"time weights {list(time.shape)} do not fit {filters} filters",
        )
        node.expect(
            rank >= 1 and filters % rank == 0 and x.shape == (1, channels)
            and max(*time.shape, channels) <= node.LARGEST,
            f"{filters} filters of rank {rank} over {list(x.shape)}",
            "supported is one row of inputs at a time, and a rank that divides the filters",
        )  # fmt: skip
        bias = node.bias(3, filters // rank)
        node.check_accumulators(x, weights, channel_axis=0)
        state = node.variable(4, "int16", time.size)
        node.expect(state.quant.zero_point == (0,), f"state {state.name} has a zero point")
        inputs = (x.name, weights.name, bias, "", time.name, state.name)
        op = node.op(self.kind, inputs, SvdfAttributes(rank))
        node.shape_output((1, filters // rank))
        node.expect(y.shape == (1, filters // rank), f"makes {list(y.shape)}")
        return (replace(op, updates=(state.name,)),)


def _layer_scales(x: float, y: float, weights: float, ratio: tuple[int, int]) -> LayerScales:
    return LayerScales(x, y, (ratio[0],), (ratio[1],), (weights,))


OPERATOR = Svdf()
