"""Decisions of every class against every other to votes, as libsvm counts them.

Input: int8 [1, C * (C - 1) / 2], the pairs (0, 1), (0, 2) … (C - 2, C - 1); above the zero point is
a vote for the first of a pair.  Output: int8 [1, C], scale 1, zero point 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Cost, Operator, Struct
from tinykit.ops.evaluate import Run

MOST_CLASSES = 128  # whose votes fit into int8


@dataclass(frozen=True)
class VotesAttributes(Attributes):
    classes: int = 2


class Votes(Operator[VotesAttributes]):
    kind = "votes"
    note = f"of models from scikit-learn: one-versus-one votes, up to {MOST_CLASSES} classes"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        classes, x = self.attributes(op).classes, graph[op.inputs[0]]
        if x.size != classes * (classes - 1) // 2 or not 2 <= classes <= MOST_CLASSES:
            raise ModelError(f"layer {op.name}: {x.size} decisions of {classes} classes")
        return ((1, classes),)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        classes, x = self.attributes(op).classes, run.graph[op.inputs[0]]
        first, second = np.triu_indices(classes, 1)
        won = run[x.name].reshape(-1) > x.quant.zero_point0
        votes = np.bincount(np.where(won, first, second), minlength=classes)
        return (votes.astype(np.int8).reshape(1, -1),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        return Cost(macs=4 * graph[op.inputs[0]].size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x = graph[op.inputs[0]]
        fields = {"classes": self.attributes(op).classes, "zero_point": x.quant.zero_point0}
        return (Call("tk_votes_s8", Struct("tk_votes", {**fields}), (x.name, op.outputs[0])),)


OPERATOR = Votes()
