"""Gradient of a function of one code: the gradient times a derivative from a table.

Inputs: gradient int16 of x's shape; x int8.  The 256 derivatives are int16 with one power of two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import gradient_result, gradient_shift


@dataclass(frozen=True)
class LookupGradAttributes(Attributes):
    """slopes: the derivative at the codes -128 … 127, in real units."""

    slopes: tuple[float, ...]

    def fixed(self) -> tuple[Array, int]:
        """(int16 [256], exponent): slope = value * 2^exponent."""
        slopes = np.array(self.slopes)
        exponent = math.frexp(float(np.abs(slopes).max()))[1] - 15
        return np.clip(np.rint(slopes * 2.0**-exponent), -32767, 32767).astype(np.int16), exponent


class LookupGrad(Operator[LookupGradAttributes]):
    kind = "lookup_grad"
    in_place = 0

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        gradient, index = run[op.inputs[0]], run[op.inputs[1]].astype(np.int64) + 128
        attributes = self.attributes(op)
        if run.real:
            return (gradient * np.array(attributes.slopes)[index].reshape(gradient.shape),)
        table, _ = attributes.fixed()
        product = gradient.astype(np.int64) * table[index].reshape(gradient.shape)
        return (gradient_result(run, product, self._shift(run.graph, op), gradient.shape),)

    def _shift(self, graph: Graph, op: Op) -> int:
        exponent = graph[op.inputs[0]].quant.exponent + self.attributes(op).fixed()[1]
        return gradient_shift(op.name, graph[op.outputs[0]].quant.exponent, exponent)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        struct = Struct(
            "tk_lookup_grad",
            {
                "table": Table("int16_t", self.attributes(op).fixed()[0]),
                "size": graph[op.outputs[0]].size,
                "shift": self._shift(graph, op),
            },
        )
        arguments = (op.inputs[0], op.inputs[1], op.outputs[0], "$trainer")
        return (Call("tk_lookup_grad_s16", struct, arguments),)


OPERATOR = LookupGrad()
