"""Gradient of a depthwise convolution with respect to its input.

Inputs: gradient int16 [1, OH, OW, C*M], weights [1, KH, KW, K], rest [1, KH, KW, C*M-K] or absent.
Output: gradient int16 [1, H, W, C].  A channel's weight scale multiplies its finished sum.
Where both have one shape, the output may lie on the input.
"""

from __future__ import annotations

import math

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Address, Call, Cost, Field, Operator, Struct
from tinykit.ops.conv2d_input_grad import InputGradAttributes
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import exact
from tinykit.ops.gradient_arithmetic import PLANES_MAX, gradient_result, gradient_shift
from tinykit.ops.layer_scales import MULTIPLIER_BITS

TAPS_MAX = 511  # products of int16 and int8 that an int32 surely holds


class DepthwiseInputGrad(Operator[InputGradAttributes]):
    kind = "depthwise_input_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (self.attributes(op).shape,)

    def overwrites(self, graph: Graph, op: Op) -> int | None:
        return 0 if graph[op.inputs[0]].shape == graph[op.outputs[0]].shape else None

    def _shift(self, graph: Graph, op: Op) -> int:
        exponent = graph[op.inputs[0]].quant.exponent - MULTIPLIER_BITS
        exponent += self.attributes(op).scales.weight_exponent
        return gradient_shift(op.name, graph[op.outputs[0]].quant.exponent, exponent)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes = self.attributes(op)
        weights = exact(run.joined(op.inputs[1], op.inputs[2]))[0]
        outputs = weights.shape[-1]
        oh, ow = attributes.output_size
        channels = attributes.shape[-1]
        gradient = run[op.inputs[0]].reshape(oh, ow, 1, 1, outputs).astype(np.float64)
        sums = attributes.window.scatter(gradient * weights, *attributes.input_size)
        scales = attributes.scales
        factors = np.array(scales.weights) if run.real else scales.channel_multipliers()
        acc = (sums * factors).reshape(*attributes.input_size, channels, -1).sum(axis=-1)
        shift = 0 if run.real else self._shift(run.graph, op)
        return (gradient_result(run, acc, shift, attributes.shape),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        kernel = self.attributes(op).window.kernel
        return Cost(graph[op.inputs[0]].size * math.prod(kernel), graph[op.outputs[0]].size)

    def _planes(self, graph: Graph, op: Op) -> int:
        """Bytes of scratch that gradient_planes.c takes; 0 where it does not serve."""
        window = self.attributes(op).window
        kh, kw = window.kernel
        height, width = self.attributes(op).input_size
        words = kw // 2 + 1
        size = 8 * (height + kh - 1) * ((width + 1) // 2 * 2 + kw // 2 * 2) + 32 * kh * words
        shift = self._shift(graph, op)
        sums = kh * kw << 22 << max(0, 16 - shift)
        serves = (
            graph[op.inputs[0]].shape[-1] == graph[op.outputs[0]].shape[-1]
            and window.dilation == (1, 1)
            and 2 <= kw <= 7
            and 1 <= shift <= 32
            and sums < 1 << 31
            and size <= PLANES_MAX
        )
        return size if serves else 0

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        gradient, result, weights = graph[op.inputs[0]], graph[op.outputs[0]], graph[op.inputs[1]]
        taps, outputs = math.prod(attributes.window.kernel), gradient.shape[-1]
        if taps > TAPS_MAX:
            raise PlanError(
                f"layer {op.layer}: depthwise kernels above {TAPS_MAX} taps have no gradient"
            )
        planes = self._planes(graph, op)
        fields: dict[str, Field] = {
            "window": attributes.window.struct(attributes.input_size, attributes.output_size),
            "weights": Address(weights.name),
            "weights_rest": Address(op.inputs[2]) if op.inputs[2] else None,
            **attributes.scales.fields(),
            "scale": attributes.scales.channel_constant,
            "channels": result.shape[-1],
            "depth_multiplier": outputs // result.shape[-1],
            "split": weights.shape[-1],
            "shift": self._shift(graph, op),
            "planes": int(planes > 0),
        }
        arguments = (gradient.name, result.name, "$scratch", "$trainer")
        struct = Struct("tk_depthwise_input_grad", fields)
        pixels = 4 * outputs + 8 * taps
        if self.overwrites(graph, op) is not None:
            pixels += 8 * math.prod(attributes.output_size)
        scratch = (outputs + 1) // 2 * 4 + max(pixels, planes)
        return (Call("tk_depthwise_input_grad_s16", struct, arguments, scratch),)


OPERATOR = DepthwiseInputGrad()
