"""Gradient of a convolution with respect to its input.

Inputs: gradient int16 [1, OH, OW, O], weights [O, KH, KW, K], rest [O, KH, KW, C-K] or absent:
the old weights, those of the forward pass.  Output: gradient int16 of the input's shape.

dx = sum over o of (g_o * s_o) * w_o with weight scales s_o: the gradient is first multiplied by
s_o / 2^a <= 1 and rounded to int16 (row by row, in scratch), so that the sum is one over integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Address, Call, Cost, Field, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import exact
from tinykit.ops.gradient_arithmetic import (
    WEIGHT_LIMIT,
    gradient_result,
    gradient_shift,
    to_gradient,
)
from tinykit.ops.layer_scales import MULTIPLIER_BITS, LayerScales
from tinykit.ops.window import Pair, Window


@dataclass(frozen=True)
class InputGradAttributes(Attributes):
    """window of the forward op; sizes (H, W) and (OH, OW); shape: of the input tensor.

    inner_exponent: of the scaled gradient, calibrated like a tensor's.
    """

    window: Window
    input_size: Pair
    output_size: Pair
    shape: tuple[int, ...]
    scales: LayerScales
    inner_exponent: int = 0


class Conv2DInputGrad(Operator[InputGradAttributes]):
    kind = "conv2d_input_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (self.attributes(op).shape,)

    def _scaled(self, op: Op, run: Run) -> Array:
        """The scaled gradient [OH * OW, O] as float64: real, or integers."""
        attributes = self.attributes(op)
        scales = attributes.scales
        gradient = run[op.inputs[0]].reshape(-1, run.graph[op.inputs[1]].shape[0])
        if run.real:
            scaled = gradient * (np.array(scales.weights) / math.ldexp(1.0, scales.weight_exponent))
            run.peaks[op.name] = float(np.abs(scaled).max(initial=0.0))
            return np.asarray(scaled)
        product = gradient.astype(np.int64) * scales.channel_multipliers()
        return exact(to_gradient(product, self._scale_shift(run.graph, op), run.step))

    def _scale_shift(self, graph: Graph, op: Op) -> int:
        exponent = graph[op.inputs[0]].quant.exponent - MULTIPLIER_BITS
        return gradient_shift(op.name, self.attributes(op).inner_exponent, exponent)

    def _shift(self, graph: Graph, op: Op) -> int:
        attributes = self.attributes(op)
        exponent = attributes.inner_exponent + attributes.scales.weight_exponent
        return gradient_shift(op.name, graph[op.outputs[0]].quant.exponent, exponent)

    def _narrow(self, graph: Graph, op: Op) -> bool:
        """Whether no sum can leave an int32, whatever the gradients and what is learnt."""
        shift = self._shift(graph, op)
        if not 0 <= shift <= 31:
            return False
        largest = 0
        for name in filter(None, op.inputs[1:3]):
            tensor = graph[name]
            if tensor.constant:
                sums = np.abs(tensor.value.astype(np.int64)).sum(axis=0)
                largest = max(largest, int(sums.max()))
            else:
                largest = max(largest, tensor.shape[0] * WEIGHT_LIMIT)
        return bool(largest * 2**15 + (2**shift >> 1) < 2**31)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes = self.attributes(op)
        weights = exact(run.joined(op.inputs[1], op.inputs[2]))
        patches = self._scaled(op, run) @ weights.reshape(weights.shape[0], -1)
        oh, ow = attributes.output_size
        spread = patches.reshape(oh, ow, *attributes.window.kernel, -1)
        acc = attributes.window.scatter(spread, *attributes.input_size)
        if run.real:
            acc = acc * math.ldexp(1.0, attributes.scales.weight_exponent)
            return (acc.reshape(attributes.shape),)
        return (gradient_result(run, acc, self._shift(run.graph, op), attributes.shape),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        kh, kw = self.attributes(op).window.kernel
        elements = graph[op.outputs[0]].size
        oh, ow = self.attributes(op).output_size
        channels = graph[op.outputs[0]].shape[-1]
        return Cost(oh * ow * kh * kw * channels * graph[op.inputs[1]].shape[0], elements)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        weights, rest = graph[op.inputs[1]], op.inputs[2]
        outputs = weights.shape[0]
        fields: dict[str, Field] = {
            "window": attributes.window.struct(attributes.input_size, attributes.output_size),
            "weights": Address(weights.name),
            "weights_rest": Address(rest) if rest else None,
            **attributes.scales.fields(),
            "scale": attributes.scales.channel_constant,
            "input_channels": graph[op.outputs[0]].shape[-1],
            "split": weights.shape[-1],
            "output_channels": outputs,
            "ring": ring_rows(attributes.window),
            "scale_shift": self._scale_shift(graph, op),
            "shift": self._shift(graph, op),
            "narrow": int(self._narrow(graph, op)),
        }
        if attributes.window.pointwise:
            even = outputs + outputs % 2
            pixels = 4 if math.prod(attributes.input_size) >= 4 else 1
            scratch = 2 * even * (1 + pixels)
        else:
            scratch = 2 * outputs * (1 + ring_rows(attributes.window) * attributes.output_size[1])
        arguments = (op.inputs[0], op.outputs[0], "$scratch", "$trainer")
        struct = Struct("tk_conv2d_input_grad", fields)
        return (Call("tk_conv2d_input_grad_s16", struct, arguments, scratch),)


def ring_rows(window: Window) -> int:
    """Rows of the output that one row of the input is seen by, at most."""
    return (window.kernel[0] - 1) * window.dilation[0] // window.stride[0] + 1


OPERATOR = Conv2DInputGrad()
