"""Learning on features: what is frozen runs once for each sample, what trains on its results.

A plan's layers, channel order included, are settled on the whole graph before it is cut, so that
training the suffix on the prefix's int8 results gives the same bits as training the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinykit.ir import Graph
from tinykit.passes import shrink, simplify
from tinykit.passes.cut import cut
from tinykit.training.channel_order import order_channels
from tinykit.training.plan import LayerUpdate, Plan, Update, learning, trainable_layers


@dataclass(frozen=True)
class Features:
    """`prefix` makes features of a sample; `suffix` with `plan` learns from features what the whole
    graph with its own plan learns from samples, bit for bit."""

    prefix: Graph
    suffix: Graph
    plan: Plan


def divide(graph: Graph, plan: Plan) -> Features:
    """The parts of an int8 graph for a plan. Raises PlanError as Plan.resolve does."""
    graph = simplify(graph)
    choices = plan.resolve(graph)
    graph = shrink(graph, learning(choices))
    graph = order_channels(graph, choices)
    parts = cut(graph, learning(choices))
    return Features(parts.prefix, parts.suffix, settled(graph, choices, plan))


def settled(graph: Graph, choices: Mapping[str, LayerUpdate], plan: Plan) -> Plan:
    """The plan with its layers by name, for a graph in which trained channels come first."""
    updates = []
    for op in trainable_layers(graph):
        choice = choices[op.name]
        if choice.trains:
            share = choice.channels / graph[op.inputs[1]].shape[-1]
            updates.append(
                Update(layers=(op.name,), bias=choice.bias, weights=share, select="first")
            )
    return plan.model_copy(update={"update": tuple(updates)})
