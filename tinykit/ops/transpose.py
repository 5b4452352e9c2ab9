"""TRANSPOSE: int8 axes in another order; of gradients (int16) the way back.

Output axis i is input axis permutation[i].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct, Table
from tinykit.ops.evaluate import Run

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

LARGEST_RANK = 5  # axes that the kernel walks


@dataclass(frozen=True)
class TransposeAttributes(Attributes):
    permutation: tuple[int, ...] = ()

    @property
    def inverse(self) -> tuple[int, ...]:
        return tuple(int(i) for i in np.argsort(self.permutation))


def walk(shape: tuple[int, ...], permutation: tuple[int, ...]) -> list[tuple[int, int]]:
    """(size, stride in the input) of the output's axes, as few as describe the same walk."""
    axes: list[tuple[int, int]] = []
    for axis in permutation:
        size, stride = shape[axis], math.prod(shape[axis + 1 :])
        if size == 1:
            continue
        if axes and axes[-1][1] == size * stride:  # goes on where the axis before it ends
            axes[-1] = (axes[-1][0] * size, stride)
        else:
            axes.append((size, stride))
    return axes


class Transpose(Operator[TransposeAttributes]):
    kind = "transpose"
    tflite = ("TRANSPOSE",)
    note = f"int8, any order of up to {LARGEST_RANK} axes; free where only axes of size 1 move"

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
        x, y = op.inputs[0], op.outputs[0]
        axes = walk(graph[x].shape, self.attributes(op).permutation)
        axes = [(1, 0)] * (LARGEST_RANK - len(axes)) + axes
        sizes, strides = (np.array(column, np.uint32) for column in zip(*axes, strict=True))
        fields = {"size": Table("uint32_t", sizes), "stride": Table("uint32_t", strides)}
        function = {"int8": "tk_transpose_s8", "int16": "tk_transpose_s16"}[graph[x].dtype]
        return (Call(function, Struct("tk_transpose", {**fields}), (x, y)),)

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
            len(walk(x.shape, permutation)) <= LARGEST_RANK,
            f"{list(x.shape)} in the order {given}; supported are {LARGEST_RANK} axes",
        )
        return (node.op(self.kind, (x.name,), TransposeAttributes(permutation)),)


OPERATOR = Transpose()
