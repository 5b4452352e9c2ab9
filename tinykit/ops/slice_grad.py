"""Gradient of a slice: zeros with the gradient where the slice was taken.  int16 to int16."""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call, Operator
from tinykit.ops.evaluate import Run
from tinykit.ops.slice import SliceAttributes
from tinykit.ops.strided_copy import Axis, copy_call


class SliceGrad(Operator[SliceAttributes]):
    kind = "slice_grad"
    moves = True

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.outputs[0]].shape,)  # the slice does not know it

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        gradient = run[op.inputs[0]]
        result = np.zeros(run.graph[op.outputs[0]].shape, gradient.dtype)
        result[self.attributes(op).index] = gradient
        return (result,)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        gradient, result = graph[op.inputs[0]], graph[op.outputs[0]]
        first, axes = self.attributes(op).walk(result.shape)
        back = [Axis(axis.size, axis.write, axis.read) for axis in axes]
        return (copy_call(gradient, result, back, (0, first), filled=0),)


OPERATOR = SliceGrad()
