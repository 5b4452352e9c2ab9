"""Gradient of LOG_SOFTMAX inside a network: gradient - p * (sum of gradients), row by row.

Inputs: gradient int16 [..., N]; y int8, the log softmax.  p = exp(y) / sum of exp(y), so that
rounded probabilities sum to 1; exp by a table in Q0.24.
"""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import gradient_shift, to_gradient

BITS = 24
TABLE = np.rint(2.0**BITS * np.exp((np.arange(-128, 128) - 127) / 16)).astype(np.int64)


class LogSoftmaxGrad(Operator[Attributes]):
    kind = "log_softmax_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        y = run[op.inputs[1]].astype(np.int64)
        q = TABLE[y + 128]
        total = q.sum(axis=-1, keepdims=True)
        if run.real:
            gradient = run[op.inputs[0]].reshape(q.shape)
            real = np.exp((y - 127) / 16)
            p = real / real.sum(axis=-1, keepdims=True)
            return (gradient - p * gradient.sum(axis=-1, keepdims=True),)
        gradient = run[op.inputs[0]].astype(np.int64).reshape(q.shape)
        inverse = ((1 << 40) + total // 2) // total
        p = (q * inverse + (1 << 15)) >> 16
        result = (gradient << BITS) - p * gradient.sum(axis=-1, keepdims=True)
        return (to_gradient(result, self._shift(run.graph, op), run.step),)

    def _shift(self, graph: Graph, op: Op) -> int:
        exponent = graph[op.inputs[0]].quant.exponent - BITS
        return gradient_shift(op.name, graph[op.outputs[0]].quant.exponent, exponent)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        y = graph[op.inputs[1]]
        struct = Struct(
            "tk_log_softmax_grad",
            {
                "table": Table("int32_t", TABLE.astype(np.int32)),
                "rows": y.size // y.shape[-1],
                "depth": y.shape[-1],
                "shift": self._shift(graph, op),
            },
        )
        arguments = (op.inputs[0], y.name, op.outputs[0], "$trainer")
        return (Call("tk_log_softmax_grad_s16", struct, arguments),)


OPERATOR = LogSoftmaxGrad()
