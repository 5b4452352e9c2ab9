"""Layers in two blocks of weights, as a plan that trains some of their channels makes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinykit.ir import Graph, Quantization, Tensor


def split_weights(graph: Graph, random: np.random.Generator) -> Graph:
    """The same function with the weights of each layer cut at a random channel."""
    for op in graph.of_kind("conv2d", "depthwise_conv2d", "fully_connected"):
        weights = graph[op.inputs[1]]
        channels = weights.shape[-1]
        if channels < 2 or len(op.inputs) > 3:
            continue
        at = int(random.integers(1, channels))
        first, rest = _blocks(weights, at, scales=op.kind == "depthwise_conv2d")
        changed = replace(op, inputs=(*op.inputs[:1], first.name, op.inputs[2], rest.name))
        graph = graph.with_tensors([first, rest])
        graph = replace(graph, ops=tuple(changed if o is op else o for o in graph.ops))
    return graph.pruned()


def _blocks(weights: Tensor, at: int, scales: bool) -> tuple[Tensor, Tensor]:
    parts = []
    for name, part in (("first", slice(None, at)), ("rest", slice(at, None))):
        data = np.ascontiguousarray(weights.value[..., part])
        quant = weights.quant
        if scales and quant.per_channel:
            quant = Quantization(quant.scale[part], quant.zero_point[part], quant.axis)
        parts.append(
            replace(
                weights,
                name=f"{weights.name}/{name}",
                shape=data.shape,
                data=data,
                quantization=quant,
            )
        )
    return parts[0], parts[1]
