"""A model input whose features each have a scale of their own, read as plain codes / 128.

The features' scales and zero points are the constants' business of whatever reads the codes, so
this costs nothing: tables of sensors, dates and prices get 8 bits for each column's own range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Cost, Operator
from tinykit.ops.evaluate import Run

if TYPE_CHECKING:
    from tinykit.ops.tape import Tape

SCALE = 1 / 128  # of the output, zero point 0: values in -1 … 1


class Features(Operator[Attributes]):
    kind = "features"
    note = "of models from scikit-learn: an input with a scale for each feature; costs nothing"
    in_place = 0
    alias = True

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        return (run[op.inputs[0]],)

    def cost(self, graph: Graph, op: Op) -> Cost:
        return Cost()

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        return ()

    def gradient(self, op: Op, tape: Tape) -> None:
        """None: its input is the model's."""


OPERATOR = Features()
