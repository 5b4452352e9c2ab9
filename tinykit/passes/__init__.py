"""Graph to graph: each pass is one function, exact to the bit, with a test of before and after."""

from __future__ import annotations

from collections.abc import Callable

from tinykit.ir import Graph
from tinykit.ops.registry import check_shapes
from tinykit.passes.dead import remove_dead_ops
from tinykit.passes.fuse_activation import fuse_activations
from tinykit.passes.fuse_pad import fuse_pads, sink_pads
from tinykit.passes.identities import drop_identities, merge_reshapes

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    remove_dead_ops,
    merge_reshapes,
    drop_identities,
    sink_pads,
    fuse_pads,
    fuse_activations,
)


def simplify(graph: Graph) -> Graph:
    """All passes, until nothing changes: the same outputs from fewer ops."""
    while True:
        before = graph.ops
        for run in PASSES:
            graph = run(graph)
        if graph.ops == before:
            return check_shapes(graph.pruned())


__all__ = ["PASSES", "simplify"]
