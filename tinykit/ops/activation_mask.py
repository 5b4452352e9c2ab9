"""Where a fused activation lets the gradient pass, one bit an element.

Kept instead of the activation itself when no weight update needs that.
Input: y int8.  Output: uint8 [ceil(size / 8)], element i in bit i % 8 of byte i / 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run


@dataclass(frozen=True)
class Limits(Attributes):
    """The gradient passes where low < y < high (quantized values)."""

    low: int
    high: int

    def passes(self, y: Array) -> Array:
        return np.asarray((y > self.low) & (y < self.high))


class ActivationMask(Operator[Limits]):
    kind = "activation_mask"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return ((-(-graph[op.inputs[0]].size // 8),),)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        passes = self.attributes(op).passes(run[op.inputs[0]])
        return (np.packbits(passes.reshape(-1), bitorder="little"),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        limits = self.attributes(op)
        struct = Struct(
            "tk_activation_limits",
            {"size": graph[op.inputs[0]].size, "low": limits.low, "high": limits.high},
        )
        return (Call("tk_activation_mask", struct, (op.inputs[0], op.outputs[0])),)


OPERATOR = ActivationMask()
