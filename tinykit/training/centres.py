"""Class centres behind an embedding: where they are kept, and what they are before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinykit.ir import Array, Graph, Op, Quantization, Tensor
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.target import Target
from tinykit.ops.triplet import STATES, CentresAttributes, TripletAttributes
from tinykit.training.loss import loss_of
from tinykit.training.plan import Training

NO_MARGIN = 1e30  # that no distance keeps


def with_centres(graph: Graph, training: Training) -> Graph:
    """A forward graph that ends in an embedding, then in probabilities by its class centres.

    Raises PlanError where it does not end in an embedding.
    """
    embedding, classes = loss_of(graph, training)[1], training.classes
    size = graph[embedding].size
    output = Tensor("class/output", (1, classes), "int8", Quantization.per_tensor(1 / 256, -128))
    op = Op(
        "class_centres",
        "class/centres",
        (embedding, *STATES),
        (output.name,),
        CentresAttributes(training.margin),
        layer="class/centres",
    )
    states = [
        Tensor(name, shape, "int16", None, "parameters", np.zeros(shape, np.int16))
        for name, shape in zip(STATES, ((classes, size), (classes,)), strict=True)
    ]
    graph = graph.with_tensors([*states, output])
    return replace(graph, ops=(*graph.ops, op), outputs=(output.name,))


def enrolled(graph: Graph, samples: Array, targets: Sequence[Target]) -> Graph:
    """A training graph as it is once the centres have seen the samples, for a look at gradients.

    The margin is one that no sample keeps: each has a gradient.  Other losses: the graph itself.
    """
    loss = next(op for op in graph.ops if op.phase == "loss")
    if not isinstance(loss.attributes, TripletAttributes):
        return graph
    end = graph.ops.index(loss) + 1
    forward = replace(graph, ops=graph.ops[:end])
    values = {name: graph[name].value for name in loss.updates}
    for sample, target in zip(samples, targets, strict=True):
        inputs = {graph.inputs[0]: sample}
        run = evaluate(forward, inputs, parameters=values, step=Step.towards(target), real=True)
        values = {name: run[name] for name in values}
    eager = replace(loss, attributes=replace(loss.attributes, margin=NO_MARGIN))
    ops = tuple(eager if op is loss else op for op in graph.ops)
    changed = [graph[name].with_data(value) for name, value in values.items()]
    return replace(graph.with_tensors(changed), ops=ops)
