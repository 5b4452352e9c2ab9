"""CONCATENATION and PACK: tensors side by side along one axis, by one copy each."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator
from tinykit.ops.evaluate import Run
from tinykit.ops.reshape import ReshapeAttributes
from tinykit.ops.slice import box
from tinykit.ops.strided_copy import Axis, copy_call

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


@dataclass(frozen=True)
class ConcatenationAttributes(Attributes):
    axis: int = 0


class Concatenation(Operator[ConcatenationAttributes]):
    kind = "concatenation"
    moves = True
    tflite = ("CONCATENATION", "PACK")
    int16 = tflite
    note = "any number of inputs of one quantization (TFLM does not rescale), any axis"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        axis, parts = self.attributes(op).axis, [graph[name].shape for name in op.inputs]
        frames = {(*shape[:axis], 0, *shape[axis + 1 :]) for shape in parts}
        if len(frames) != 1 or not 0 <= axis < len(parts[0]):
            raise ModelError(
                f"layer {op.name}: {', '.join(str(list(shape)) for shape in parts)} cannot be "
                f"joined along axis {axis}"
            )
        total = sum(shape[axis] for shape in parts)
        return ((*parts[0][:axis], total, *parts[0][axis + 1 :]),)

    def monotone(self, graph: Graph, op: Op) -> bool:
        return True

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        return (np.concatenate([run[name] for name in op.inputs], self.attributes(op).axis),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        axis, y = self.attributes(op).axis, graph[op.outputs[0]]
        outer, row = math.prod(y.shape[:axis]), math.prod(y.shape[axis:])
        calls, first = [], 0
        for name in op.inputs:
            size = graph[name].size // outer
            axes = [Axis(outer, size, row), Axis(size, 1, 1)]
            calls.append(copy_call(graph[name], y, axes, (0, first)))
            first += size
        return tuple(calls)

    def gradient(self, op: Op, tape: Tape) -> None:
        axis, first = self.attributes(op).axis, 0
        gradient = tape.gradient_of(op.outputs[0])
        whole = tape.graph[op.outputs[0]].shape
        for name in op.inputs:
            shape = tape.graph[name].shape
            if tape.wants(name):
                part = box(whole, axis, first, shape[axis])
                tape.contribute(name, tape.emit("slice", op, (gradient,), shape, part))
            first += shape[axis]

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        packs = node.builtin == "PACK"
        node.expect_counts(range(1, len(node.inputs) + 1))
        node.expect(node.activation == "none", "a fused activation is not supported")
        inputs = [node.input(i) for i in range(len(node.inputs))]
        rank = len(inputs[0].shape) + packs
        axis = node.option("Axis")
        node.expect(-rank <= axis < rank, f"no axis {axis} in {rank} dimensions")
        axis %= rank
        ops: list[Op] = []
        names = []
        for i, x in enumerate(inputs):
            name = x.name
            if packs:
                shape = (*x.shape[:axis], 1, *x.shape[axis:])
                name = f"{node.outputs[0]}/part{i}"
                data = None if x.data is None else x.data.reshape(shape)
                node.add(replace(x, name=name, shape=shape, data=data))
                if data is None:
                    shaped = f"{node.name}/part{i}"
                    ops.append(
                        Op("reshape", shaped, (x.name,), (name,), ReshapeAttributes(shape),
                           layer=shaped)
                    )  # fmt: skip
            names.append(name)
        op = node.op(self.kind, tuple(names), ConcatenationAttributes(axis))
        so_far = Graph("", node.tensors, (), (), ())
        node.shape_output(self.shapes(so_far, op)[0])
        y = node.output()
        for x in inputs:
            node.expect_same_quantization(x, y)
        return (*ops, op)


OPERATOR = Concatenation()
