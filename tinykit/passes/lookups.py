"""Chains of pointwise ops become one: a single QUANTIZE where that is exact, else a table.

Both are judged by the NumPy reference over all 256 codes.  Only in front of what learns: a table
has no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tinykit.ir import Graph, Op, Quantization, Tensor
from tinykit.ops.quantize import QuantizeAttributes
from tinykit.ops.registry import operator
from tinykit.passes.frozen import downstream
from tinykit.passes.identities import same_codes
from tinykit.passes.rewrite import bypass, only_consumer, replace_op
from tinykit.passes.tables import LOWEST, table_of

WORTH = 256  # elements from which on a table's bytes pay for a single op: there are no more entries


def use_lookups(graph: Graph, learns: frozenset[str]) -> Graph:
    """With one op for each chain of pointwise ops, int8 to int8, in front of what learns."""
    while True:
        changed = (_one_op(graph, c) for c in _chains(graph, downstream(graph, learns)))
        shorter = next((other for other in changed if other is not graph), graph)
        if shorter is graph:
            return graph
        graph = shorter


def _chains(graph: Graph, alive: frozenset[str]) -> Iterator[list[Op]]:
    """The longest runs of pointwise ops whose tensors between nobody else reads."""
    seen: set[str] = set()
    for op in graph.ops:
        chain: list[Op] = []
        follower: Op | None = op
        while follower is not None and operator(follower.kind).pointwise:
            if follower.name in seen or follower.outputs[0] in alive:
                break
            seen.add(follower.name)
            chain.append(follower)
            follower = only_consumer(graph, follower.outputs[0])
        while chain and graph[chain[0].inputs[0]].dtype != "int8":
            chain = chain[1:]
        while chain and graph[chain[-1].outputs[0]].dtype != "int8":
            chain = chain[:-1]
        if chain:
            yield chain


def _one_op(graph: Graph, chain: list[Op]) -> Graph:
    first, last = chain[0], chain[-1]
    x, y = graph[first.inputs[0]], graph[last.outputs[0]]
    table = table_of(graph, chain)
    if same_codes(x, y) and (table == np.arange(256) + LOWEST).all():
        alone = replace(last, inputs=(x.name,))
        without = bypass(_replaced(graph, chain, alone), alone)
        if alone not in without.ops:
            return without
    direct = Op("quantize", last.name, (x.name,), (y.name,), QuantizeAttributes(), layer=last.layer)
    if len(chain) > 1 and (table_of(graph, [direct]) == table).all():
        chain, graph = [direct], _replaced(graph, chain, direct)
    if len(chain) == 1 and (y.size < WORTH or chain[0].kind == "lookup"):
        return graph
    name = f"{last.name}/table"
    tables = Tensor(name, (256,), "int8", Quantization.per_tensor(1.0), "flash", table)
    lookup = Op("lookup", last.name, (x.name, name), (y.name,), layer=last.layer)
    return _replaced(graph.with_tensors([tables]), chain, lookup)


def _replaced(graph: Graph, chain: list[Op], op: Op) -> Graph:
    """The graph with `op` where the chain's last op stood."""
    for gone in chain[:-1]:
        graph = replace_op(graph, gone)
    return replace_op(graph, chain[-1], op)
