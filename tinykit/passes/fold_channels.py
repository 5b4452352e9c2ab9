"""Removes channels that say nothing: those that are constant, and those that nothing weighs.

A channel that holds one value (or one map of values) whatever the input is adds a constant to each
sum behind it; the constant moves into the biases of the layers that read it.  Where padding makes
that constant another one at the borders, the channel stays.  Sums wrap to int32 before and after.
"""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Graph, Op, Tensor
from tinykit.passes.channels import Bundle, bundles, keep_channels, with_constant
from tinykit.passes.ranges import Bounds, layer_sums, ranges


def fold_channels(graph: Graph, learns: frozenset[str]) -> Graph:
    """Without the channels of frozen layers whose effect on every reader is a constant."""
    found = ranges(graph)
    while True:
        shorter = _fold_one(graph, learns, found)
        if shorter is graph:
            return graph
        graph = shorter


def _fold_one(graph: Graph, learns: frozenset[str], found: dict[str, Bounds]) -> Graph:
    for bundle in bundles(graph, learns):
        gone = _foldable(graph, bundle, found)[: bundle.channels - bundle.fewest]
        if not gone:
            continue
        for op in bundle.readers:
            graph = _with_effects(graph, op, gone, found[op.inputs[0]])
        kept = np.setdiff1d(np.arange(bundle.channels), gone)
        for name in bundle.tensors:
            low, high = found[name]
            found[name] = low[..., kept], high[..., kept]
        return keep_channels(graph, bundle, kept)
    return graph


def _foldable(graph: Graph, bundle: Bundle, found: dict[str, Bounds]) -> list[int]:
    """The channels that can go."""
    effects = {
        c: [_effect(graph, op, c, found[op.inputs[0]]) for op in bundle.readers]
        for c in range(bundle.channels)
    }
    return [c for c, terms in effects.items() if all(term is not None for term in terms)]


def _effect(graph: Graph, op: Op, channel: int, bounds: Bounds) -> Array | None:
    """What a channel adds to each output channel's sums [O], if that is always the same."""
    weights = graph[op.inputs[1]].value[..., channel : channel + 1]
    if not weights.any():
        return np.zeros(len(weights), np.int64)
    low, high = (bound[..., channel : channel + 1] for bound in bounds)
    if (low != high).any():
        return None
    sums = layer_sums(graph, op, low, weights).reshape(-1, len(weights))
    return sums[0] if (sums == sums[0]).all() else None


def _with_effects(graph: Graph, op: Op, channels: list[int], bounds: Bounds) -> Graph:
    """The graph with what these channels add in the bias of a layer that reads them."""
    terms = [_effect(graph, op, c, bounds) for c in channels]
    total = np.sum([term for term in terms if term is not None], axis=0)
    if not total.any():
        return graph
    if len(op.inputs) > 2 and op.inputs[2]:
        bias = graph[op.inputs[2]]
    else:
        bias = Tensor("", total.shape, "int32", None, "flash", np.zeros(total.shape, np.int32))
    wrapped = (bias.value + total + 2**31) % 2**32 - 2**31
    return with_constant(graph, op, 2, bias.with_data(wrapped.astype(np.int32)))
