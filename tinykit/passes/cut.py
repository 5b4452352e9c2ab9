"""Cuts a graph in two where learning begins: a frozen prefix, and the suffix that trains.

The cut is at the deepest tensor that everything trained depends on and nothing goes around:
whatever comes after it sees the input only through this one tensor.  So the prefix's results can be
kept, one int8 tensor for each sample, and the suffix trains on them with the bits of the whole.

Plans that choose channels by magnitude may want the channels of that tensor in another order: see
tinykit.training.features, which settles the plan first.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace

from tinykit.ir import Graph, Op
from tinykit.passes.dead import remove_dead_ops


@dataclass(frozen=True)
class Cut:
    """`suffix(prefix(x))` is the graph that was cut. The prefix may have no ops at all."""

    prefix: Graph
    suffix: Graph

    @property
    def tensor(self) -> str:
        """The tensor that is the prefix's output and the suffix's input."""
        return self.suffix.inputs[0]


def cut(graph: Graph, learns: Set[str]) -> Cut:
    """Both parts of a graph with one input.

    learns: names of the layers that learn; all of them are in the suffix.
    """
    for op in reversed(graph.ops):
        for tensor in op.outputs:
            late = _behind(graph, tensor, learns)
            if late is not None:
                after = {name for op in late for name in op.outputs}
                early = tuple(op for op in graph.ops if after.isdisjoint(op.outputs))
                prefix = remove_dead_ops(replace(graph, ops=early, outputs=(tensor,)))
                suffix = replace(graph, ops=tuple(late), inputs=(tensor,))
                return Cut(prefix.pruned().check(), suffix.pruned().check())
    return Cut(replace(graph, ops=(), outputs=graph.inputs).pruned(), graph)


def _behind(graph: Graph, tensor: str, learns: Set[str]) -> list[Op] | None:
    """The ops that depend on a tensor; None if something of what learns, of the outputs, or of
    what those ops read comes another way."""
    known = {tensor}
    late: list[Op] = []
    for op in graph.ops:
        arena = [name for name in op.reads if graph[name].storage == "arena"]
        if any(name in known for name in arena):
            if not known.issuperset(arena):
                return None
            known.update(op.outputs)
            late.append(op)
        elif op.name in learns:
            return None
    return late if late and known.issuperset(graph.outputs) else None
