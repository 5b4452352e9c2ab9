"""Several inputs or outputs as one: `part` takes a tensor out of a block, `join` lays them in one.

What is generated has one input and one output, a block of bytes; a model's own tensors lie in it
one behind the other, in the order of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator
from tinykit.ops.evaluate import Run
from tinykit.ops.strided_copy import Axis, copy_call


@dataclass(frozen=True)
class PartAttributes(Attributes):
    """shape of the tensor, which begins `first` bytes into the block."""

    first: int = 0
    shape: tuple[int, ...] = ()


class Part(Operator[PartAttributes]):
    kind = "part"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        attributes, y = self.attributes(op), graph[op.outputs[0]]
        if attributes.first + y.bytes > graph[op.inputs[0]].bytes:
            raise ModelError(f"layer {op.name}: lies outside its block")
        return (attributes.shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        y, first = run.graph[op.outputs[0]], self.attributes(op).first
        block = run[op.inputs[0]].reshape(-1)[first : first + y.bytes]
        return (block.view(np.dtype(y.dtype)).reshape(y.shape).copy(),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        walk = [Axis(y.bytes, 1, 1)]
        return (copy_call(x, y, walk, (self.attributes(op).first, 0)),)


class Join(Operator[Attributes]):
    kind = "join"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return ((1, sum(graph[name].bytes for name in op.inputs)),)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        parts = [np.ascontiguousarray(run[name]).reshape(-1).view(np.int8) for name in op.inputs]
        return (np.concatenate(parts)[None],)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        y, calls, first = graph[op.outputs[0]], [], 0
        for name in op.inputs:
            x = graph[name]
            as_bytes = replace(x, dtype="int8", shape=(x.bytes,), data=None)
            calls.append(copy_call(as_bytes, y, [Axis(x.bytes, 1, 1)], (0, first)))
            first += x.bytes
        return tuple(calls)


OPERATORS = (Part(), Join())
