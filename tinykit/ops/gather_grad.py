"""Gradient of a gather: each place is the sum over those that read it.  int16 to int16."""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call, Operator, Struct, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.gather import GatherAttributes
from tinykit.ops.gradient_arithmetic import gradient_result, gradient_shift


class GatherGrad(Operator[GatherAttributes]):
    kind = "gather_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.outputs[0]].shape,)  # the gather does not know it

    def _shift(self, graph: Graph, op: Op) -> int:
        gradient, result = graph[op.inputs[0]], graph[op.outputs[0]]
        return gradient_shift(op.name, result.quant.exponent, gradient.quant.exponent)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes, shape = self.attributes(op), run.graph[op.outputs[0]].shape
        gradient = np.moveaxis(run[op.inputs[0]].astype(np.float64), attributes.axis, 0)
        acc = np.zeros((shape[attributes.axis], *gradient.shape[1:]))
        np.add.at(acc, np.array(attributes.indices), gradient)
        acc = np.moveaxis(acc, 0, attributes.axis)
        shift = 0 if run.real else self._shift(run.graph, op)
        return (np.ascontiguousarray(gradient_result(run, acc, shift, shape)),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        gradient, result = graph[op.inputs[0]], graph[op.outputs[0]]
        indices = np.array(self.attributes(op).indices)
        outer, size, inner = self.attributes(op).layout(result.shape)
        readers = np.argsort(indices, kind="stable").astype(np.uint16)
        ends = np.searchsorted(np.sort(indices), np.arange(size), "right").astype(np.uint16)
        struct = Struct(
            "tk_gather_grad",
            {
                "reader": Table("uint16_t", readers),
                "end": Table("uint16_t", ends),
                "outer": outer,
                "size": size,
                "count": len(indices),
                "inner": inner,
                "shift": self._shift(graph, op),
            },
        )
        return (Call("tk_gather_grad_s16", struct, (gradient.name, result.name, "$trainer")),)


OPERATOR = GatherGrad()
