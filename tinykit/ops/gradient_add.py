"""Sum of two gradients that meet at a fork, each with its own exponent."""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import gradient_result, gradient_shift

LARGEST_SHIFT = 30


class GradientAdd(Operator[Attributes]):
    kind = "gradient_add"
    in_place = 0

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def _exponents(self, graph: Graph, op: Op) -> tuple[int, int, int]:
        """(exponent of the sum before rounding, left shifts of both inputs)

        Beyond LARGEST_SHIFT the finer input counts for less than one unit of the coarser.
        """
        a, b = (graph[name].quant.exponent for name in op.inputs)
        low = max(min(a, b), max(a, b) - LARGEST_SHIFT)
        return low, max(a - low, 0), max(b - low, 0)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        a, b = (run[name] for name in op.inputs)
        if run.real:
            return (a + b,)
        low, shift_a, shift_b = self._exponents(run.graph, op)
        acc = (a.astype(np.int64) << shift_a) + (b.astype(np.int64) << shift_b)
        shift = gradient_shift(op.name, run.graph[op.outputs[0]].quant.exponent, low)
        return (gradient_result(run, acc, shift, a.shape),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        low, shift_a, shift_b = self._exponents(graph, op)
        struct = Struct(
            "tk_gradient_add",
            {
                "size": graph[op.outputs[0]].size,
                "shift_a": shift_a,
                "shift_b": shift_b,
                "shift": gradient_shift(op.name, graph[op.outputs[0]].quant.exponent, low),
            },
        )
        arguments = (op.inputs[0], op.inputs[1], op.outputs[0], "$trainer")
        return (Call("tk_gradient_add_s16", struct, arguments),)


OPERATOR = GradientAdd()
