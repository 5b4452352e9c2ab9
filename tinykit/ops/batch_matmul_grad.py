"""Gradient of BATCH_MATMUL with respect to one factor.

Inputs: gradient int16 of the product, the other factor int8.  The real scale of that factor is
m / 2^15 * 2^e with a 15-bit m: sums of 64 bits times m, then one shift.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call, Cost, Operator, Struct
from tinykit.ops.batch_matmul import BatchMatmulGradAttributes
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import gradient_shift, to_gradient

SCALE_BITS = 15


def scale_parts(scale: float) -> tuple[int, int]:
    """(m, e) with scale = m * 2**(e - SCALE_BITS), 2^14 <= m < 2^15."""
    mantissa, exponent = math.frexp(scale)
    return min(round(mantissa * 2**SCALE_BITS), 2**SCALE_BITS - 1), exponent


class BatchMatmulGrad(Operator[BatchMatmulGradAttributes]):
    kind = "batch_matmul_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (self.attributes(op).shape,)

    def _scale(self, graph: Graph, op: Op) -> tuple[int, int]:
        """(m, right shift)"""
        gradient, other, result = (graph[name] for name in (*op.inputs, *op.outputs))
        multiplier, exponent = scale_parts(other.quant.scale0)
        exponent += gradient.quant.exponent - SCALE_BITS
        return multiplier, gradient_shift(op.name, result.quant.exponent, exponent)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes, quant = self.attributes(op), run.graph[op.inputs[1]].quant
        sums = attributes.sums
        gradient = run[op.inputs[0]].astype(np.float64)
        other = run[op.inputs[1]].astype(np.float64) - quant.zero_point0
        a, b = (
            as_strided(np.ascontiguousarray(x).reshape(-1), sums.size, [8 * n for n in strides])
            for x, strides in ((gradient, sums.a), (other, sums.b))
        )
        acc = np.einsum("brcsd,brcsd->brc", a, b)  # exact below 2^53
        if run.real:
            return (acc.reshape(attributes.shape) * quant.scale0,)
        multiplier, shift = self._scale(run.graph, op)
        scaled = acc.astype(np.int64) * multiplier
        return (to_gradient(scaled, shift, run.step).reshape(attributes.shape),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        return Cost(
            macs=math.prod(self.attributes(op).sums.size), elements=graph[op.outputs[0]].size
        )

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        multiplier, shift = self._scale(graph, op)
        struct = Struct(
            "tk_batch_matmul_grad",
            {
                **self.attributes(op).sums.fields,
                "zero_point": graph[op.inputs[1]].quant.zero_point0,
                "multiplier": multiplier,
                "shift": shift,
            },
        )
        return (Call("tk_batch_matmul_grad_s16", struct, (*op.inputs, op.outputs[0], "$trainer")),)


OPERATOR = BatchMatmulGrad()
