"""Votes of the k nearest of some rows: k-NN; with a row for each class and k = 1, centroids.

Inputs: x int8 [1, F]; rows int8 [N, F] of the same scales; labels uint8 [N], below C.
Squared Euclidean distances in int32; among equals the row that comes first is nearer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Address, Call, Cost, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.scores import WORD, score_codes, scores_struct

MOST_FEATURES = (2**31 - 1) // 255**2  # whose squared differences add up in 32 bits


@dataclass(frozen=True)
class NearestAttributes(Attributes):
    neighbours: int = 1
    classes: int = 2


class Nearest(Operator[NearestAttributes]):
    kind = "nearest"
    note = "of models from scikit-learn; Euclidean, equal votes, up to 256 classes"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        x, rows, labels = (graph[name] for name in op.inputs)
        attributes = self.attributes(op)
        if (
            rows.shape != (labels.size, x.size)
            or x.size > MOST_FEATURES
            or not 1 <= attributes.neighbours <= labels.size
            or labels.value.max() >= attributes.classes
        ):
            raise ModelError(
                f"layer {op.name}: {attributes.neighbours} of rows {list(rows.shape)} do not fit "
                f"input {list(x.shape)} and {attributes.classes} classes"
            )
        return ((1, attributes.classes),)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        x, rows, labels = (run[name].astype(np.int64) for name in op.inputs)
        attributes = self.attributes(op)
        distances = ((rows - x.reshape(1, -1)) ** 2).sum(axis=1)
        nearest = np.argsort(distances, kind="stable")[: attributes.neighbours]
        votes = np.bincount(labels[nearest], minlength=attributes.classes)
        return (score_codes(votes, 1 / attributes.neighbours, run.graph[op.outputs[0]]),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        return Cost(macs=graph[op.inputs[1]].size, elements=graph[op.outputs[0]].size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, rows, labels = (graph[name] for name in op.inputs)
        y, neighbours = graph[op.outputs[0]], self.attributes(op).neighbours
        struct = Struct(
            "tk_nearest",
            {
                "rows": Address(rows.name),
                "labels": Address(labels.name),
                "scores": scores_struct(1 / neighbours, y),
                "count": labels.size,
                "features": x.size,
                "neighbours": neighbours,
            },
        )
        scratch = WORD * (2 * neighbours + y.size)
        return (Call("tk_nearest_s8", struct, (x.name, y.name, "$scratch"), scratch),)


OPERATOR = Nearest()
