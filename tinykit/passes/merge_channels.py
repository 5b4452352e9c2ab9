"""Merges channels that are always equal: one stays, with the sum of both's weights behind it."""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.passes.channels import Bundle, bundles, keep_channels, with_constant

LARGEST = 127  # weights stay symmetric int8


def merge_channels(graph: Graph, learns: frozenset[str]) -> Graph:
    """Without the duplicates among the channels of frozen layers, where weights can be summed."""
    while True:
        shorter = _merge_one(graph, learns)
        if shorter is graph:
            return graph
        graph = shorter


def _merge_one(graph: Graph, learns: frozenset[str]) -> Graph:
    for bundle in bundles(graph, learns):
        first: dict[bytes, int] = {}
        for channel in range(bundle.channels):
            original = first.setdefault(_identity(graph, bundle, channel), channel)
            if original == channel or bundle.channels <= bundle.fewest:
                continue
            sums = {op.name: _summed(graph, op, original, channel) for op in bundle.readers}
            if any(np.abs(weights).max() > LARGEST for weights in sums.values()):
                continue
            for op in bundle.readers:
                weights = graph[op.inputs[1]].with_data(sums[op.name].astype(np.int8))
                graph = with_constant(graph, op, 1, weights)
            kept = np.delete(np.arange(bundle.channels), channel)
            return keep_channels(graph, bundle, kept)
    return graph


def _identity(graph: Graph, bundle: Bundle, channel: int) -> bytes:
    """All that makes a channel what it is, in each layer that it comes from or passes."""
    parts = []
    for op in bundle.makers:
        parts.append(graph[op.inputs[1]].value[channel].tobytes())
    for op in bundle.carriers:
        if op.kind == "depthwise_conv2d":
            parts.append(graph[op.inputs[1]].value[..., channel].tobytes())
    for op in (*bundle.makers, *bundle.carriers):
        if op in bundle.makers or op.kind == "depthwise_conv2d":
            scales = graph[op.inputs[1]].quant.scale
            parts.append(repr(scales[channel] if len(scales) > 1 else scales[0]).encode())
            bias = graph[op.inputs[2]].value[channel] if op.inputs[2] else 0
            parts.append(repr(int(bias)).encode())
    return b"|".join(parts)


def _summed(graph: Graph, op: Op, into: int, channel: int) -> Array:
    """Weights of a reader with those of one input channel added to another's; int64."""
    weights = graph[op.inputs[1]].value.astype(np.int64)
    weights[..., into] += weights[..., channel]
    return weights
