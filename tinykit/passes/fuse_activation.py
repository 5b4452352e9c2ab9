"""Moves a RELU or RELU6 into the op before it, whose clamp does it for nothing.

On the way it passes reshapes, and pads, whose fill it clamps.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinykit.ir import Graph, Op, Quantization, Tensor
from tinykit.ops.fixed_point import activation_range
from tinykit.ops.pad import PadAttributes
from tinykit.ops.registry import operator
from tinykit.passes.identities import same_codes
from tinykit.passes.rewrite import bypass, only_consumer, replace_op

ACTIVATIONS = ("none", "relu", "relu6", "relu_n1_to_1")


def fuse_activations(graph: Graph) -> Graph:
    """Without the activations that only repeat the clamp of an op with the same quantization."""
    while True:
        shorter = _fuse_one(graph)
        if shorter is graph:
            return graph
        graph = shorter


def _fuse_one(graph: Graph) -> Graph:
    for op in graph.of_kind("relu", "relu6"):
        producer, pads = _producer(graph, op)
        if producer is None:
            continue
        y = graph[op.outputs[0]]
        clamps = operator(producer.kind).clamps
        first = getattr(producer.attributes, "activation", "") if clamps else ""
        activation = combined(first, op.kind, y.quant, y.dtype) if first else None
        if activation is None:
            continue
        fused = replace(
            producer,
            attributes=replace(producer.attributes, activation=activation),  # type: ignore[call-arg]
        )
        graph = replace_op(graph, producer, fused)
        for pad in pads:
            graph = replace_op(graph, pad, _clamped(pad, op.kind, y))
        return bypass(graph, op)
    return graph


def combined(
    first: str, second: str, quantization: Quantization, dtype: str = "int8"
) -> str | None:
    """The activation whose range is what two leave, one after the other; None if none has it."""
    ranges = {name: activation_range(name, quantization, dtype) for name in ACTIVATIONS}
    (low, high), (lower, upper) = ranges[first], ranges[second]
    both = max(low, lower), min(high, upper)
    fitting = [name for name in (second, first, *ACTIVATIONS) if ranges[name] == both]
    return fitting[0] if fitting else None


def _clamped(pad: Op, activation: str, y: Tensor) -> Op:
    assert isinstance(pad.attributes, PadAttributes)
    limits = activation_range(activation, y.quant, y.dtype)
    value = int(np.clip(pad.attributes.value, *limits))
    return replace(pad, attributes=replace(pad.attributes, value=value))


def _producer(graph: Graph, activation: Op) -> tuple[Op | None, list[Op]]:
    """The op that makes the activation's input, with nobody else looking on; the pads between."""
    tensor, pads = activation.inputs[0], list[Op]()
    if not same_codes(graph[tensor], graph[activation.outputs[0]]):
        return None, pads
    while only_consumer(graph, tensor) is not None:
        producer = graph.producer(tensor)
        if producer is None or producer.kind not in ("reshape", "pad"):
            return producer, pads
        if not same_codes(graph[producer.inputs[0]], graph[tensor]):
            return None, pads
        pads += [producer] if producer.kind == "pad" else []
        tensor = producer.inputs[0]
    return None, pads
