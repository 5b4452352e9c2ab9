"""Small edits of graphs that passes are made of."""

from __future__ import annotations

from dataclasses import replace

from tinykit.ir import Graph, Op


def only_consumer(graph: Graph, tensor: str) -> Op | None:
    """The one op that reads `tensor`, unless others do or it is an output of the graph."""
    consumers = graph.consumers(tensor)
    return consumers[0] if len(consumers) == 1 and tensor not in graph.outputs else None


def replace_op(graph: Graph, old: Op, *new: Op) -> Graph:
    """The graph with `old` replaced, where it stood, by `new` (or by nothing)."""
    ops: list[Op] = []
    for op in graph.ops:
        ops.extend(new if op is old else (op,))
    return replace(graph, ops=tuple(ops))


def renamed(op: Op, old: str, new: str) -> Op:
    """An op that reads and makes tensor `new` where it did `old`."""

    def swap(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(new if name == old else name for name in names)

    if old not in op.inputs and old not in op.outputs:
        return op
    return replace(op, inputs=swap(op.inputs), outputs=swap(op.outputs))


def bypass(graph: Graph, op: Op) -> Graph:
    """Without an op whose output equals its first input, if that can be; else unchanged.

    The graph's input and output keep their names; when they would become one tensor, the op stays.
    """
    x, y = op.inputs[0], op.outputs[0]
    rest = replace_op(graph, op)
    if y not in graph.outputs:
        return replace(rest, ops=tuple(renamed(other, y, x) for other in rest.ops))
    if x in graph.inputs or x in graph.outputs or graph[x].storage != "arena":
        return graph
    return replace(rest, ops=tuple(renamed(other, x, y) for other in rest.ops))
