"""TRANSPOSE: axes in another order; of gradients (int16) the way back.

Output axis i is input axis permutation[i].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator
from tinykit.ops.evaluate import Run
from tinykit.ops.strided_copy import LARGEST_RANK, Axis, copy_call, strides, walk

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


@dataclass(frozen=True)
class TransposeAttributes(Attributes):
    permutation: tuple[int, ...] = ()

    @property
    def inverse(self) -> tuple[int, ...]:
        return tuple(int(i) for i in np.argsort(self.permutation))


def axes_of(shape: tuple[int, ...], permutation: tuple[int, ...]) -> list[Axis]:
    """The walk through the output, as short as it gets."""
    reads, sizes = strides(shape), [shape[axis] for axis in permutation]
    writes = strides(tuple(sizes))
    return walk([Axis(n, reads[i], w) for n, i, w in zip(sizes, permutation, writes, strict=True)])


class Transpose(Operator[TransposeAttributes]):
    kind = "transpose"
    moves = True
    tflite = ("TRANSPOSE",)
    int16 = tflite
    note = f"any order of up to {LARGEST_RANK} axes; free where only axes of size 1 move"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        shape, permutation = graph[op.inputs[0]].shape, self.attributes(op).permutation
        if sorted(permutation) != list(range(len(shape))):
            raise ModelError(f"layer {op.name}: {list(permutation)} is no order of {list(shape)}")
        return (tuple(shape[axis] for axis in permutation),)

    def channel_flow(self, graph: Graph, op: Op) -> Literal["fixed", "through", "mixes"]:
        permutation = self.attributes(op).permutation
        return "through" if permutation[-1] == len(permutation) - 1 else "fixed"

    def monotone(self, graph: Graph, op: Op) -> bool:
        return True

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        order = self.attributes(op).permutation
        return (np.ascontiguousarray(np.transpose(run[op.inputs[0]], order)),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        return (copy_call(x, y, axes_of(x.shape, self.attributes(op).permutation)),)

    def gradient(self, op: Op, tape: Tape) -> None:
        shape = tape.graph[op.inputs[0]].shape
        back = TransposeAttributes(self.attributes(op).inverse)
        gradient = tape.gradient_of(op.outputs[0])
        tape.contribute(op.inputs[0], tape.emit(self.kind, op, (gradient,), shape, back))

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(2, 3))
        x, y = node.input(), node.output()
        node.expect_same_quantization(x, y)
        rank = len(x.shape)
        given = [int(axis) for axis in node.constant(1).flat]
        permutation = tuple(axis % rank for axis in given if -rank <= axis < rank)
        node.expect(sorted(permutation) == list(range(rank)), f"order of axes {given}")
        node.expect(
            len(axes_of(x.shape, permutation)) <= LARGEST_RANK,
            f"{list(x.shape)} in the order {given}; supported are {LARGEST_RANK} axes",
        )
        return (node.op(self.kind, (x.name,), TransposeAttributes(permutation)),)


OPERATOR = Transpose()
