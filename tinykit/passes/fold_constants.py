"""Evaluates ops whose inputs are all constants, once, by their NumPy references.

What importers fold are the shapes that a converter computes with integers (importers/fold.py);
here it is tensors of codes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinykit.ir import Graph, Op
from tinykit.ops.evaluate import Run
from tinykit.ops.registry import operator


def fold_constants(graph: Graph, learns: frozenset[str]) -> Graph:
    """With constants in place of the frozen ops that only read constants; outputs stay made."""
    tensors, ops = dict(graph.tensors), list[Op]()
    for op in graph.ops:
        known = all(tensors[name].constant for name in op.reads) and not op.updates
        if not known or op.name in learns or any(name in graph.outputs for name in op.outputs):
            ops.append(op)
            continue
        values = {name: tensors[name].value for name in op.reads}
        run = Run(replace(graph, tensors=tensors), values)
        for name, value in zip(op.outputs, operator(op.kind).evaluate(op, run), strict=True):
            data = np.ascontiguousarray(value)
            tensors[name] = replace(tensors[name], storage="flash", data=data)
    return graph if len(ops) == len(graph.ops) else replace(graph, tensors=tensors, ops=tuple(ops))
