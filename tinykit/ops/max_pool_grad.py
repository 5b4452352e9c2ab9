"""Gradient of MAX_POOL_2D and REDUCE_MAX: to the first largest pixel of each window.

Inputs: gradient int16 [1, OH, OW, C]; x int8 [1, H, W, C], in whatever shape.  Output: x's shape.
"""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.average_pool_grad import PoolGradAttributes
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import gradient_result, gradient_shift


class MaxPoolGrad(Operator[PoolGradAttributes]):
    kind = "max_pool_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[1]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes = self.attributes(op)
        window = attributes.window
        x = run[op.inputs[1]]
        pixels = x.reshape(*attributes.input_size, attributes.channels).astype(np.float64)
        patches = window.patches(pixels, fill=-np.inf)
        oh, ow, kh, kw, channels = patches.shape
        winner = patches.reshape(oh, ow, kh * kw, channels).argmax(axis=2)
        chosen = np.arange(kh * kw)[:, None] == winner[:, :, None, :]
        gradient = run[op.inputs[0]].reshape(oh, ow, 1, channels).astype(np.float64)
        spread = (chosen * gradient).reshape(oh, ow, kh, kw, channels)
        acc = window.scatter(spread, *attributes.input_size)
        shift = 0 if run.real else self._shift(run.graph, op)
        return (gradient_result(run, acc, shift, x.shape),)

    def _shift(self, graph: Graph, op: Op) -> int:
        gradient, result = graph[op.inputs[0]], graph[op.outputs[0]]
        return gradient_shift(op.name, result.quant.exponent, gradient.quant.exponent)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        gradient, result = graph[op.inputs[0]], graph[op.outputs[0]]
        size = attributes.window.output_size(*attributes.input_size)
        struct = Struct(
            "tk_pool_grad",
            {
                "window": attributes.window.struct(attributes.input_size, size),
                "channels": attributes.channels,
                "shift": self._shift(graph, op),
            },
        )
        arguments = (gradient.name, op.inputs[1], result.name, "$scratch", "$trainer")
        scratch = 4 * attributes.input_size[0] * attributes.input_size[1]  # one channel's sums
        return (Call("tk_max_pool_grad_s16", struct, arguments, scratch),)


OPERATOR = MaxPoolGrad()
