"""What each pass does for a model: the ops, multiplications and bytes that it takes away."""

from __future__ import annotations

from dataclasses import dataclass

from tinykit.ir import Graph
from tinykit.ops.registry import operator
from tinykit.passes import NOTHING, Pass, rounds, shrinking, simplify, simplifying


@dataclass(frozen=True)
class Work:
    """What a graph amounts to: ops, multiply-accumulates, bytes of constants in flash."""

    ops: int
    macs: int
    flash: int

    def __sub__(self, other: Work) -> Work:
        return Work(self.ops - other.ops, self.macs - other.macs, self.flash - other.flash)

    def __add__(self, other: Work) -> Work:
        return Work(self.ops + other.ops, self.macs + other.macs, self.flash + other.flash)


@dataclass(frozen=True)
class PassEffect:
    """What a pass took away in all its runs; less than nothing is what it added."""

    name: str
    removed: Work


def work(graph: Graph) -> Work:
    """The ops, MACs and constants of a graph."""
    graph = graph.pruned()
    macs = sum(operator(op.kind).cost(graph, op).macs for op in graph.ops)
    constants = sum(
        tensor.bytes
        for tensor in graph.tensors.values()
        if tensor.storage not in ("arena", "state")
    )
    return Work(len(graph.ops), macs, constants)


def explain(graph: Graph, learns: frozenset[str] = NOTHING) -> list[PassEffect]:
    """The effect of each pass of `shrink(simplify(graph), learns)` that has one, in their order."""
    none = Work(0, 0, 0)
    removed: dict[str, Work] = {}
    stages: tuple[tuple[Graph, dict[str, Pass]], ...] = (
        (graph, simplifying()),
        (simplify(graph), shrinking(learns)),
    )
    for before, passes in stages:
        for name, after in rounds(before, passes):
            removed[name] = removed.get(name, none) + (work(before) - work(after))
            before = after
    return [PassEffect(name, total) for name, total in removed.items() if total != none]
