"""Removes ops whose results nothing uses."""

from __future__ import annotations

from dataclasses import replace

from tinykit.ir import Graph, Op


def remove_dead_ops(graph: Graph) -> Graph:
    """Keeps the ops that lead to an output or change a parameter."""
    needed = set(graph.outputs)
    kept: list[Op] = []
    for op in reversed(graph.ops):
        if op.updates or any(name in needed for name in op.outputs):
            needed.update(op.reads)
            kept.append(op)
    return replace(graph, ops=tuple(reversed(kept))) if len(kept) < len(graph.ops) else graph
