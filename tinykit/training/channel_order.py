"""Brings the channels that a plan trains to the front, exactly, at compile time.

A partly trained layer keeps its first K input channels in SRAM.  To train the K most important
ones, the channels of the tensor in front of it are put in order of importance: the weights and
biases that make them, pass them on and read them are permuted alike, and the model computes the
same bits.

Channels that flow through adds, pools or depthwise layers share one order, so all tensors they
tie together form a class with one permutation.  Layers of one class that want different orders
share the order of their summed scores; channels that a plan numbers come before all others.
Classes tied to the model's input or output, or to an
operator that does not say how its channels flow, stay as they are.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op, Tensor
from tinykit.ops.registry import operator
from tinykit.passes.channels import ChannelClasses, take
from tinykit.training.plan import LayerUpdate, trainable_layers

NUMBERED = 1e6  # the score of a channel that the plan numbers


def importance(weights: Tensor) -> Array:
    """Sum of |real weight| for each channel of the last axis."""
    quantization = weights.quant
    scale = np.array(quantization.scale)
    if quantization.per_channel:
        shape = [1] * len(weights.shape)
        shape[quantization.axis or 0] = len(scale)
        scale = scale.reshape(shape)
    real = np.abs(weights.value.astype(np.float64)) * scale
    return np.asarray(real.sum(axis=tuple(range(len(weights.shape) - 1))))


def order_channels(graph: Graph, choices: Mapping[str, LayerUpdate]) -> Graph:
    """The same function with the most important trained channels first."""
    classes = ChannelClasses(graph)
    scores: dict[str, Array] = {}
    for op in graph.ops:
        choice = choices.get(op.name)
        if choice is None or choice.select == "first" or choice.channels == 0:
            continue
        weights = graph[op.inputs[1]]
        head = classes.find(op.inputs[0])
        if choice.channels == weights.shape[-1] or classes.fixed(head):
            continue
        if weights.shape[-1] == graph[op.inputs[0]].shape[-1]:
            if choice.select == "random":
                score = np.random.default_rng(_seed(op, choice)).random(weights.shape[-1])
            else:
                score = importance(weights)
            score = score / max(float(score.sum()), 1e-30)
            if choice.chosen:
                score = np.isin(np.arange(len(score)), choice.chosen) * NUMBERED
            scores[head] = scores.get(head, 0.0) + score
    orders = {head: np.argsort(-score, kind="stable") for head, score in scores.items()}
    for op in trainable_layers(graph):
        _check_chosen(graph, op, choices.get(op.name), orders.get(classes.find(op.inputs[0])))
    if not orders:
        return graph

    tensors = dict(graph.tensors)
    ops = []
    for op in graph.ops:
        if operator(op.kind).trainable:
            before = orders.get(classes.find(op.inputs[0]))
            after = orders.get(classes.find(op.outputs[0]))
            if before is not None or after is not None:
                op = _permuted(tensors, op, before, after)
        ops.append(op)
    return replace(graph, tensors=tensors, ops=tuple(ops)).pruned()


def _seed(op: Op, choice: LayerUpdate) -> list[int]:
    return [choice.seed, zlib.crc32(op.name.encode())]


def in_fixed_order(graph: Graph, choices: Mapping[str, LayerUpdate]) -> list[str]:
    """The partly trained layers that have to take their first channels, whatever the plan says."""
    classes = ChannelClasses(graph)
    return [
        op.name
        for op in trainable_layers(graph)
        if 0 < choices[op.name].channels < graph[op.inputs[1]].shape[-1]
        and classes.fixed(op.inputs[0])
    ]


def _check_chosen(graph: Graph, op: Op, choice: LayerUpdate | None, order: Array | None) -> None:
    """Raises PlanError unless the channels that the plan numbers come first."""
    if choice is None or not choice.chosen or choice.channels == graph[op.inputs[1]].shape[-1]:
        return
    first = range(choice.channels) if order is None else order[: choice.channels]
    if tuple(sorted(int(channel) for channel in first)) != choice.chosen:
        raise PlanError(
            f"layer {op.name}: its channels cannot be brought into the order that the plan wants",
            "what makes them has a fixed order, or other layers read them too: choose the first "
            "ones, or the same in all of these layers",
        )


def _permuted(tensors: dict[str, Tensor], op: Op, before: Array | None, after: Array | None) -> Op:
    """The layer with weights and bias of its own, in the new orders of input and output."""
    inputs = list(op.inputs)
    weights = tensors[inputs[1]]
    last = len(weights.shape) - 1
    if operator(op.kind).flow == "mixes":
        changed = _take(_take(weights, 0, after), last, before)
    else:
        changed = _take(weights, last, after)
    inputs[1] = f"{op.name}/ordered weights"
    tensors[inputs[1]] = replace(changed, name=inputs[1])
    if len(inputs) > 2 and inputs[2] and after is not None:
        bias = _take(tensors[inputs[2]], 0, after)
        inputs[2] = f"{op.name}/ordered bias"
        tensors[inputs[2]] = replace(bias, name=inputs[2])
    return replace(op, inputs=tuple(inputs))


def _take(tensor: Tensor, axis: int, order: Array | None) -> Tensor:
    return tensor if order is None else take(tensor, axis, order)
