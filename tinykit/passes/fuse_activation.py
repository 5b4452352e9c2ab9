"""Moves a RELU or RELU6 into the op before it, whose clamp does it for nothing."""

from __future__ import annotations

from dataclasses import replace

from tinykit.ir import Graph, Op
from tinykit.passes.identities import same_codes
from tinykit.passes.rewrite import bypass, only_consumer, replace_op

# (activation of the producer, activation behind it) -> what both are together
COMBINED = {
    ("none", "relu"): "relu",
    ("none", "relu6"): "relu6",
    ("relu", "relu"): "relu",
    ("relu", "relu6"): "relu6",
    ("relu6", "relu"): "relu6",
    ("relu6", "relu6"): "relu6",
}


def fuse_activations(graph: Graph) -> Graph:
    """Without the activations that only repeat the clamp of an op with the same quantization."""
    while True:
        shorter = _fuse_one(graph)
        if shorter is graph:
            return graph
        graph = shorter


def _fuse_one(graph: Graph) -> Graph:
    for op in graph.of_kind("relu", "relu6"):
        producer = _producer(graph, op)
        if producer is None:
            continue
        activation = COMBINED.get((getattr(producer.attributes, "activation", ""), op.kind))
        if activation is None:
            continue
        fused = replace(
            producer,
            attributes=replace(producer.attributes, activation=activation),  # type: ignore[call-arg]
        )
        return bypass(replace_op(graph, producer, fused), op)
    return graph


def _producer(graph: Graph, activation: Op) -> Op | None:
    """The op that makes the activation's input, through reshapes, with nobody else looking on."""
    tensor = activation.inputs[0]
    if not same_codes(graph[tensor], graph[activation.outputs[0]]):
        return None
    while only_consumer(graph, tensor) is not None:
        producer = graph.producer(tensor)
        if producer is None or producer.kind != "reshape":
            return producer
        if not same_codes(graph[producer.inputs[0]], graph[tensor]):
            return None
        tensor = producer.inputs[0]
    return None
