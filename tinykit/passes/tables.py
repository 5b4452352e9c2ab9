"""What a chain of pointwise ops makes of each of the 256 codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.evaluate import evaluate

LOWEST = -128  # the code of a table's first entry


def table_of(graph: Graph, chain: Sequence[Op]) -> Array:
    """The last op's output for the codes -128 … 127 of the first op's input, in this order."""
    names = {name for op in chain for name in (*op.reads, *op.outputs)}
    x, y = chain[0].inputs[0], chain[-1].outputs[0]
    made = {x, *(name for op in chain for name in op.outputs)}
    tensors = {n: replace(graph[n], shape=(256,)) if n in made else graph[n] for n in names}
    codes = np.arange(256) + LOWEST
    alone = Graph("table", tensors, tuple(chain), (x,), (y,))
    return evaluate(alone, {x: codes.astype(np.int8)})[y]
