"""Graph to graph: each pass is one function, exact to the bit, with a test of before and after.

`simplify` is for every model, before an update plan is settled.  `shrink` comes after it: it takes
away what no input can bring to life, but learning could, so it leaves alone what learns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tinykit.ir import Graph
from tinykit.ops.int16 import is_int16
from tinykit.ops.registry import check_shapes
from tinykit.passes.dead import remove_dead_ops
from tinykit.passes.fold_channels import fold_channels
from tinykit.passes.fold_constants import fold_constants
from tinykit.passes.fuse_activation import fuse_activations
from tinykit.passes.fuse_pad import fuse_pads, sink_pads
from tinykit.passes.identities import drop_identities, merge_reshapes
from tinykit.passes.lookups import use_lookups
from tinykit.passes.merge_channels import merge_channels
from tinykit.passes.transposes import drop_transposes, merge_transposes

Pass = Callable[[Graph], Graph]
ShrinkingPass = Callable[[Graph, frozenset[str]], Graph]  # with the names of the layers that learn
NOTHING: frozenset[str] = frozenset()

PASSES: tuple[Pass, ...] = (
    remove_dead_ops,
    merge_transposes,
    drop_transposes,
    merge_reshapes,
    drop_identities,
    sink_pads,
    fuse_pads,
    fuse_activations,
)
SHRINKING: tuple[ShrinkingPass, ...] = (
    fold_constants,
    fold_channels,
    merge_channels,
    use_lookups,
)


def simplify(graph: Graph) -> Graph:
    """The passes that hold while training as well, until nothing changes."""
    return _last(graph, rounds(graph, simplifying()))


def shrink(graph: Graph, learns: frozenset[str] = NOTHING) -> Graph:
    """A simplified graph with the same outputs from less work, until nothing changes.

    learns: names of the layers that an update plan trains.  What they compute, and the channels
    that they read, stay as they are, and so does all that lies behind them.  So do models with
    int16 activations: these passes reckon with int8.
    """
    if is_int16(graph):
        return graph
    return _last(graph, rounds(graph, shrinking(learns)))


def simplifying() -> dict[str, Pass]:
    """The passes of `simplify`, by name."""
    return {run.__name__: run for run in PASSES}


def shrinking(learns: frozenset[str] = NOTHING) -> dict[str, Pass]:
    """The passes of `shrink`, by name."""
    return {run.__name__: _beside(run, learns) for run in SHRINKING}


def rounds(graph: Graph, passes: Mapping[str, Pass]) -> Iterator[tuple[str, Graph]]:
    """(pass, the graph after it) for each run, all passes in turn until none changes anything."""
    while True:
        before = graph
        for name, run in passes.items():
            graph = run(graph)
            yield name, graph
        if (graph.ops, graph.tensors) == (before.ops, before.tensors):
            return


def _beside(run: ShrinkingPass, learns: frozenset[str]) -> Pass:
    return lambda graph: run(graph, learns)


def _last(graph: Graph, runs: Iterator[tuple[str, Graph]]) -> Graph:
    for _, after in runs:
        graph = after
    return check_shapes(graph.pruned())


__all__ = ["PASSES", "SHRINKING", "rounds", "shrink", "shrinking", "simplify", "simplifying"]
