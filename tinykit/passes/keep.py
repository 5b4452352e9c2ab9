"""Puts a KEEP between the frozen ops in front of what learns and all others."""

from __future__ import annotations

from dataclasses import replace

from tinykit.ir import Graph, Op
from tinykit.ops.registry import operator


def insert_keep(infer: Graph, train: Graph, what: str) -> tuple[Graph, Graph]:
    """Both graphs with a KEEP of the same tensors, in the same order.

    what: "features", what the learning part of `train` reads of the frozen part; or "input", with
    no op in front of the KEEP.
    """
    names = train.inputs if what == "input" else features(train)
    return _divided(infer, names, what), _divided(train, names, what)


def features(graph: Graph) -> tuple[str, ...]:
    """The tensors, as their makers call them, that cross from the frozen ops to the others."""
    frozen = _frozen(graph)
    root = {name: name for name in graph.inputs}
    for op in frozen:
        for name in op.outputs:
            root[name] = root[op.inputs[0]] if operator(op.kind).alias else name
    others = [op for op in graph.ops if op not in frozen]
    read = {root[name] for op in others for name in op.reads if name in root}
    return tuple(name for name in root if name in read)


def _frozen(graph: Graph) -> list[Op]:
    """The ops whose results do not depend on anything that learns."""
    learning: set[str] = {n for n, t in graph.tensors.items() if t.storage == "parameters"}
    found = []
    for op in graph.ops:
        if learning.isdisjoint(op.reads):
            found.append(op)
        else:
            learning.update(op.outputs)
    return found


def _divided(graph: Graph, names: tuple[str, ...], what: str) -> Graph:
    first = [] if what == "input" else _frozen(graph)
    others = [op for op in graph.ops if op not in first]
    return replace(graph, ops=(*first, Op("keep", "keep", names, ()), *others)).check()
