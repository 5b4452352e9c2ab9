"""Gradient of RESIZE_BILINEAR: each pixel gets back its shares of those that were made of it.

Input: gradient int16 [N, OH, OW, C].  Output: int16 [N, H, W, C].  Shares are the forward pass's,
products of two in 1/1024; their sums have 64 bits.
"""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call, Cost, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import gradient_result, gradient_shift
from tinykit.ops.resize_bilinear import BITS, ONE, ResizeBilinearGradAttributes


def shares(places: tuple[Array, Array, Array], size: int) -> Array:
    """[new, size] in 1/1024: how much of each old place is in each new one."""
    first, second, share = places
    matrix = np.zeros((len(first), size), np.int64)
    rows = np.arange(len(first))
    np.add.at(matrix, (rows, first), ONE - share)
    np.add.at(matrix, (rows, second), share)
    return matrix


class ResizeBilinearGrad(Operator[ResizeBilinearGradAttributes]):
    kind = "resize_bilinear_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (self.attributes(op).shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes = self.attributes(op)
        shape = attributes.shape
        rows, columns = attributes.forward.both(shape)
        down, across = shares(rows, shape[1]), shares(columns, shape[2])
        gradient = run[op.inputs[0]].reshape(shape[0], *attributes.forward.size, shape[3])
        total = np.einsum("nyxc,yh,xw->nhwc", gradient.astype(np.float64), down, across)
        if run.real:
            return (total / ONE**2,)
        return (gradient_result(run, total, self._shift(run.graph, op), shape),)

    def _shift(self, graph: Graph, op: Op) -> int:
        exponent = graph[op.inputs[0]].quant.exponent - 2 * BITS
        return gradient_shift(op.name, graph[op.outputs[0]].quant.exponent, exponent)

    def cost(self, graph: Graph, op: Op) -> Cost:
        gradient, result = (graph[name].size for name in (*op.inputs, *op.outputs))
        return Cost(macs=4 * gradient, elements=result)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        struct = Struct(
            "tk_resize_bilinear_grad",
            {
                "forward": attributes.forward.struct(attributes.shape),
                "shift": self._shift(graph, op),
            },
        )
        arguments = (op.inputs[0], op.outputs[0], "$trainer")
        return (Call("tk_resize_bilinear_grad_s16", struct, arguments),)


OPERATOR = ResizeBilinearGrad()
