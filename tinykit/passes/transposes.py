"""Transposes that are not needed: several in a row, and those that only move axes of size 1."""

from __future__ import annotations

from dataclasses import replace

from tinykit.ir import Graph, Op
from tinykit.ops.reshape import ReshapeAttributes
from tinykit.ops.transpose import TransposeAttributes, axes_of


def merge_transposes(graph: Graph) -> Graph:
    """A transpose of a transpose reads the first one's input, in the order of both together."""
    ops: list[Op] = []
    earlier: dict[str, tuple[str, tuple[int, ...]]] = {}
    for op in graph.ops:
        if op.kind == "transpose":
            assert isinstance(op.attributes, TransposeAttributes)
            order = op.attributes.permutation
            if op.inputs[0] in earlier:
                x, first = earlier[op.inputs[0]]
                order = tuple(first[axis] for axis in order)
                op = replace(op, inputs=(x,), attributes=TransposeAttributes(order))
            earlier[op.outputs[0]] = op.inputs[0], order
        ops.append(op)
    return replace(graph, ops=tuple(ops))


def drop_transposes(graph: Graph) -> Graph:
    """With a reshape instead of each transpose that leaves every byte where it is."""
    return replace(graph, ops=tuple(_reshape(graph, op) for op in graph.ops))


def _reshape(graph: Graph, op: Op) -> Op:
    if op.kind != "transpose":
        return op
    assert isinstance(op.attributes, TransposeAttributes)
    axes = axes_of(graph[op.inputs[0]].shape, op.attributes.permutation)
    if len(axes) > 1:
        return op
    shape = graph[op.outputs[0]].shape
    return replace(op, kind="reshape", attributes=ReshapeAttributes(shape))
