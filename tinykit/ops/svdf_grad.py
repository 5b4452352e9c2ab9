"""Gradient of SVDF with respect to the features of this run.

Inputs: gradient int16 [1, U] of the output; time int16 [F, M].  Output: [1, F], the gradient of
its output times each filter's newest time weight, whose scale is m / 2^15 * 2^e.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Address, Call, Operator, Struct
from tinykit.ops.batch_matmul_grad import SCALE_BITS, scale_parts
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import gradient_shift, to_gradient


@dataclass(frozen=True)
class SvdfGradAttributes(Attributes):
    rank: int = 1


class SvdfGrad(Operator[SvdfGradAttributes]):
    kind = "svdf_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return ((1, graph[op.inputs[1]].shape[0]),)

    def _scale(self, graph: Graph, op: Op) -> tuple[int, int]:
        """(m, right shift)"""
        gradient, time, result = (graph[name].quant for name in (*op.inputs, *op.outputs))
        multiplier, exponent = scale_parts(time.scale0)
        exponent += gradient.exponent - SCALE_BITS
        return multiplier, gradient_shift(op.name, result.exponent, exponent)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        newest = run[op.inputs[1]][:, -1].astype(np.int64)
        gradient = np.repeat(run[op.inputs[0]].reshape(-1), self.attributes(op).rank)
        if run.real:
            return ((gradient * newest * run.graph[op.inputs[1]].quant.scale0)[None],)
        multiplier, shift = self._scale(run.graph, op)
        product = gradient.astype(np.int64) * newest * multiplier
        return (to_gradient(product, shift, run.step)[None],)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        time = graph[op.inputs[1]]
        multiplier, shift = self._scale(graph, op)
        struct = Struct(
            "tk_svdf_grad",
            {
                "time": Address(time.name),
                "multiplier": multiplier,
                "filters": time.shape[0],
                "memory": time.shape[1],
                "rank": self.attributes(op).rank,
                "shift": shift,
            },
        )
        arguments = (op.inputs[0], op.outputs[0], "$trainer")
        return (Call("tk_svdf_grad_s16", struct, arguments),)


OPERATOR = SvdfGrad()
