"""Puts the adapters of a plan beside its layers: see tinykit.passes.adapters for what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import evaluate
from tinykit.passes.adapters import add_low_rank, add_residual, block_start
from tinykit.training.plan import LayerUpdate, trainable_layers

SAMPLES = 8  # at most, that scales are taken from


def add_adapters(
    graph: Graph, choices: Mapping[str, LayerUpdate], samples: Array | None, seed: int
) -> tuple[Graph, dict[str, LayerUpdate]]:
    """The graph with all adapters, and the choices with those of their layers: all of it learns.

    samples: int8 [n, …input shape]; without any, noise stands in for the adapters' inputs.
    seed: of the weights that begin at random.  Raises PlanError for layers that cannot have them.
    """
    settled = dict(choices)
    starts: dict[str, str] = {}
    for op in trainable_layers(graph):
        choice = choices.get(op.name)
        if choice is not None and choice.adapted:
            over = choice.residual.over if choice.residual else 1
            starts[op.name] = block_start(graph, op, over)
    features = _features(graph, sorted(set(starts.values())), samples)
    for name, start in starts.items():
        choice, op = choices[name], next(op for op in graph.ops if op.name == name)
        if choice.residual is None:
            graph, learnt = add_low_rank(graph, op, choice.rank, features[start], seed)
        else:
            pool, kernel = choice.residual.pool, choice.residual.kernel
            graph, learnt = add_residual(graph, op, start, pool, kernel, features[start])
        for layer in (op for op in graph.ops if op.name in learnt):
            channels = graph[layer.inputs[1]].shape[-1]
            settled[layer.name] = LayerUpdate(False, channels, "first")
    return graph, settled


def _features(
    graph: Graph, tensors: Sequence[str], samples: Array | None
) -> dict[str, list[Array]]:
    """Codes of some tensors, one array a sample."""
    if samples is None or not len(samples):
        random = np.random.default_rng(0)
        return {
            name: [random.integers(-128, 128, graph[name].shape).astype(np.int8)]
            for name in tensors
        }
    if not tensors:
        return {}
    chosen = samples[:: -(-len(samples) // SAMPLES)]
    runs = [evaluate(graph, {graph.inputs[0]: sample}) for sample in chosen]
    return {name: [run[name] for run in runs] for name in tensors}
