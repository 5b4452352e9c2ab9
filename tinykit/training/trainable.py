"""Turns the weights and biases that a plan names into parameters in SRAM.

A partly trained layer is split in two blocks along its input channels (its channels, for a
depthwise layer): the first K are parameters, the others stay in flash.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinykit.ir import Graph, Op, Quantization, Tensor
from tinykit.training.plan import LayerUpdate


def make_trainable(graph: Graph, choices: dict[str, LayerUpdate]) -> Graph:
    """The forward graph with trained tensors stored as parameters, split where needed."""
    tensors = dict(graph.tensors)
    ops = []
    for op in graph.ops:
        choice = choices.get(op.name)
        if choice is None or not choice.trains:
            ops.append(op)
            continue
        inputs = list(op.inputs) + [""] * (4 - len(op.inputs))
        if choice.bias:
            bias = _private(tensors, op, inputs[2], "bias")
            tensors[bias.name] = replace(bias, storage="parameters")
            inputs[2] = bias.name
        if choice.channels:
            weights = _private(tensors, op, inputs[1], "weights")
            first, rest = _split(weights, choice.channels)
            tensors[first.name] = replace(first, storage="parameters")
            inputs[1] = first.name
            if rest is not None:
                tensors[rest.name] = rest
                inputs[3] = rest.name
        while len(inputs) > 3 and not inputs[-1]:
            inputs.pop()
        ops.append(replace(op, inputs=tuple(inputs)))
    return replace(graph, tensors=tensors, ops=tuple(ops)).pruned()


def _private(tensors: dict[str, Tensor], op: Op, name: str, role: str) -> Tensor:
    """The tensor under a name of this layer's own, so that sharing layers do not learn it too."""
    return replace(tensors[name], name=f"{op.name}/{role}")


def _split(weights: Tensor, channels: int) -> tuple[Tensor, Tensor | None]:
    total = weights.shape[-1]
    if channels == total:
        return weights, None
    parts = []
    for name, low, high in ((weights.name, 0, channels), (f"{weights.name}/rest", channels, total)):
        data = np.ascontiguousarray(weights.value[..., low:high])
        quantization = weights.quant
        if quantization.per_channel and quantization.axis == len(weights.shape) - 1:
            quantization = Quantization(
                quantization.scale[low:high], quantization.zero_point[low:high], quantization.axis
            )
        parts.append(
            replace(weights, name=name, shape=data.shape, data=data, quantization=quantization)
        )
    return parts[0], parts[1]
