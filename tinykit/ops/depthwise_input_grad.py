"""Gradient of a depthwise convolution with respect to its input.

Inputs: scaled gradient int16 [1, OH, OW, C*M], weights [1, KH, KW, K], rest [1, KH, KW, C*M-K] or
absent.  Output: gradient int16 [1, H, W, C].
"""

from __future__ import annotations

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Address, Call, Cost, Operator, Struct
from tinykit.ops.conv2d_input_grad import InputGradAttributes
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import exact
from tinykit.ops.gradient_arithmetic import gradient_result, gradient_shift

TAPS_MAX = 512  # products of int16 and int8 that an int32 surely holds


class DepthwiseInputGrad(Operator[InputGradAttributes]):
    kind = "depthwise_input_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (self.attributes(op).shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes = self.attributes(op)
        weights = exact(run.joined(op.inputs[1], op.inputs[2]))[0]
        kh, kw, outputs = weights.shape
        oh, ow = attributes.output_size
        channels = attributes.shape[-1]
        gradient = run[op.inputs[0]].reshape(oh, ow, 1, 1, outputs).astype(np.float64)
        spread = (gradient * weights).reshape(oh, ow, kh, kw, channels, outputs // channels)
        acc = attributes.window.scatter(spread.sum(axis=-1), *attributes.input_size)
        exponent = attributes.weight_exponent
        if run.real:
            return ((acc * 2.0**exponent).reshape(attributes.shape),)
        exponent += run.graph[op.inputs[0]].quant.exponent
        return (gradient_result(run, op.outputs[0], acc, exponent, attributes.shape),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        _, kh, kw, _ = graph[op.inputs[1]].shape
        size = graph[op.inputs[0]].size
        return Cost(size * kh * kw, graph[op.outputs[0]].size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        gradient, result, weights = graph[op.inputs[0]], graph[op.outputs[0]], graph[op.inputs[1]]
        kh, kw = attributes.window.kernel
        multiplier = gradient.shape[-1] // result.shape[-1]
        if kh * kw * multiplier > TAPS_MAX:
            raise PlanError(
                f"layer {op.layer}: depthwise kernels above {TAPS_MAX} taps have no gradient"
            )
        acc_exponent = gradient.quant.exponent + attributes.weight_exponent
        struct = Struct(
            "tk_depthwise_input_grad",
            {
                "window": attributes.window.struct(attributes.input_size, attributes.output_size),
                "weights": Address(weights.name),
                "weights_rest": Address(op.inputs[2]) if op.inputs[2] else None,
                "channels": result.shape[-1],
                "multiplier": multiplier,
                "split": weights.shape[-1],
                "shift": gradient_shift(graph, result.name, acc_exponent),
            },
        )
        arguments = (gradient.name, result.name, "$trainer")
        return (Call("tk_depthwise_input_grad_s16", struct, arguments),)


OPERATOR = DepthwiseInputGrad()
