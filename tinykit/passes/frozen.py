"""What a training step leaves alone: all that lies before the first layer that learns."""

from __future__ import annotations

from collections.abc import Set

from tinykit.ir import Graph


def downstream(graph: Graph, learns: Set[str]) -> frozenset[str]:
    """The tensors that change when the layers named in `learns` do: gradients flow through them."""
    alive: set[str] = set()
    for op in graph.ops:
        if op.name in learns or any(name in alive for name in op.reads):
            alive.update(op.outputs)
    return frozenset(alive)
