"""Gradient of SOFTMAX inside a network: p * (gradient - sum of gradient * p), row by row.

Inputs: gradient int16 [..., N]; y int8, the softmax.  p = (y + 128) / sum of (y + 128), so that
rounded probabilities sum to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import gradient_shift, to_gradient

BITS = 14  # more than the gradient has, of its products with p


@dataclass(frozen=True)
class SoftmaxGradAttributes(Attributes):
    beta: float = 1.0

    def fixed(self) -> tuple[int, int]:
        """(multiplier, exponent): beta = multiplier * 2^exponent, the multiplier of 15 bits."""
        mantissa, exponent = math.frexp(self.beta)
        return round(mantissa * 2**15), exponent - 15


class SoftmaxGrad(Operator[SoftmaxGradAttributes]):
    kind = "softmax_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        q = run[op.inputs[1]].astype(np.int64) + 128
        total = q.sum(axis=-1, keepdims=True)
        attributes = self.attributes(op)
        if run.real:
            gradient = run[op.inputs[0]].reshape(q.shape)
            p = q / np.maximum(total, 1)
            centred = gradient - (gradient * p).sum(axis=-1, keepdims=True)
            return (attributes.beta * p * centred,)
        gradient = run[op.inputs[0]].astype(np.int64).reshape(q.shape)
        square = np.maximum(total * total, 1)
        inverse = np.where(total > 0, (2**32 + square // 2) // square, 0)
        centred = gradient * total - (gradient * q).sum(axis=-1, keepdims=True)
        fraction = (q * centred * inverse) >> (32 - BITS)
        multiplier, _ = attributes.fixed()
        return (to_gradient(fraction * multiplier, self._shift(run.graph, op), run.step),)

    def _shift(self, graph: Graph, op: Op) -> int:
        exponent = graph[op.inputs[0]].quant.exponent - BITS + self.attributes(op).fixed()[1]
        return gradient_shift(op.name, graph[op.outputs[0]].quant.exponent, exponent)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        y = graph[op.inputs[1]]
        struct = Struct(
            "tk_softmax_grad",
            {
                "rows": y.size // y.shape[-1],
                "depth": y.shape[-1],
                "multiplier": self.attributes(op).fixed()[0],
                "shift": self._shift(graph, op),
            },
        )
        arguments = (op.inputs[0], y.name, op.outputs[0], "$trainer")
        return (Call("tk_softmax_grad_s16", struct, arguments),)


OPERATOR = SoftmaxGrad()
