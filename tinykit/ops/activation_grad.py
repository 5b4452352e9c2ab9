"""Gradient of a clamp (an activation, or the ends of int8): passes inside the limits only.

Inputs: gradient int16 of y's shape; y int8, or its bits (uint8) from activation_mask.
As in TensorFlow, ReLU's gradient is zero at 0, and ReLU6's at 0 and at 6.
"""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.activation_mask import Limits
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run


class ActivationGrad(Operator[Limits]):
    kind = "activation_grad"
    moves = True
    in_place = 0

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        gradient, kept = run[op.inputs[0]], run[op.inputs[1]]
        if run.graph[op.inputs[1]].dtype == "uint8":
            bits = np.unpackbits(kept, count=gradient.size, bitorder="little")
            passes = bits.reshape(gradient.shape).astype(bool)
        else:
            passes = self.attributes(op).passes(kept).reshape(gradient.shape)
        return (np.where(passes, gradient, 0).astype(gradient.dtype),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        gradient, kept = graph[op.inputs[0]], graph[op.inputs[1]]
        limits = self.attributes(op)
        struct = Struct(
            "tk_activation_limits", {"size": gradient.size, "low": limits.low, "high": limits.high}
        )
        function = "tk_activation_grad_bits" if kept.dtype == "uint8" else "tk_activation_grad"
        return (Call(function, struct, (gradient.name, kept.name, op.outputs[0])),)


OPERATOR = ActivationGrad()
