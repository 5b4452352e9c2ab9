"""Any function of one int8 code, as a table of 256 bytes.

Inputs: x int8; table int8 [256], for the codes -128 … 127.  Made by tinykit.passes.lookups from
chains of pointwise ops.
"""

from __future__ import annotations

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.pointwise import lookup_call, lookup_rows
from tinykit.ops.rows import RowForm


class Lookup(Operator[Attributes]):
    kind = "lookup"
    in_place = 0
    pointwise = True

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        if graph[op.inputs[1]].shape != (256,):
            raise ModelError(f"layer {op.name}: a table has 256 entries")
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        return (run[op.inputs[1]][run[op.inputs[0]].astype(np.int64) + 128],)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, table = (graph[name] for name in op.inputs)
        return (lookup_call(Table("int8_t", table.value), x.size, x.name, op.outputs[0]),)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        return lookup_rows(graph, self.lower(graph, op)[0])


OPERATOR = Lookup()
