"""Multiplies a gradient by each output channel's weight scale, relative to the largest.

With it the input gradient of a per-channel convolution is one sum over integers:
dx = 2^a * sum_o (g_o * s_o / 2^a) * w_o, where 2^a >= all s_o.
Input: gradient int16 [..., O].  Output: the same shape, with an exponent of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Field, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import gradient_result, gradient_shift
from tinykit.ops.layer_scales import LayerScales


@dataclass(frozen=True)
class ChannelScaleAttributes(Attributes):
    scales: LayerScales


class ChannelScale(Operator[ChannelScaleAttributes]):
    kind = "channel_scale"
    in_place = 0

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        gradient, scales = run[op.inputs[0]], self.attributes(op).scales
        if run.real:
            top = math.ldexp(1.0, scales.weight_exponent)
            return (gradient * (np.array(scales.weights) / top),)
        product = gradient.astype(np.int64) * scales.channel_multipliers()
        exponent = run.graph[op.inputs[0]].quant.exponent - 15
        return (gradient_result(run, op.outputs[0], product, exponent, gradient.shape),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        gradient, scales = graph[op.inputs[0]], self.attributes(op).scales
        channels = gradient.shape[-1]
        fields: dict[str, Field] = {
            **scales.fields(),
            "scale": scales.channel_constant,
            "pixels": gradient.size // channels,
            "channels": channels,
            "shift": gradient_shift(graph, op.outputs[0], gradient.quant.exponent - 15),
        }
        struct = Struct("tk_channel_scale", fields)
        return (Call("tk_channel_scale_s16", struct, (gradient.name, op.outputs[0], "$trainer")),)


OPERATOR = ChannelScale()
