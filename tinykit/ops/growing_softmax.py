"""Softmax over the classes that are in use, and their loss: a head that grows on the device.

The first `first` outputs are classes from the beginning; a label beyond them brings its class into
use, and those in front of it.  Outputs that are not in use have probability 0 and no gradient, and
the others are what they would be without them, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call
from tinykit.ops.evaluate import Run
from tinykit.ops.softmax import Softmax, SoftmaxAttributes
from tinykit.ops.softmax_cross_entropy import LossAttributes, SoftmaxCrossEntropy
from tinykit.ops.target import TargetForm


@dataclass(frozen=True)
class GrowingAttributes(SoftmaxAttributes):
    """first: classes in use from the beginning."""

    first: int = 2


@dataclass(frozen=True)
class GrowingLossAttributes(LossAttributes):
    """The same for the loss."""

    first: int = 2


def _first(op: Op) -> int:
    assert isinstance(op.attributes, GrowingAttributes | GrowingLossAttributes)
    return op.attributes.first


class GrowingSoftmax(Softmax):
    kind = "growing_softmax"
    tflite = ()
    note = "softmax over the classes in use, the others 0; made by [model] head with grow_to"

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        used = max(run.step.classes, _first(op))
        name = op.inputs[0]
        x = run[name]
        some = Run(run.graph, {name: x[..., :used]}, run.step)
        (y,) = super().evaluate(op, some)
        return (np.concatenate([y, np.full_like(x[..., used:], -128)], axis=-1),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        (call,) = super().lower(graph, op)
        return (Call("tk_growing_softmax_s8", call.descriptor, (*call.arguments, "$trainer")),)


class GrowingSoftmaxCrossEntropy(SoftmaxCrossEntropy):
    kind = "growing_softmax_cross_entropy"
    kernel = "tk_growing_softmax_cross_entropy_s8"

    def target(self, graph: Graph, op: Op) -> TargetForm:
        """The targets that the loss takes."""
        return TargetForm(self.kind, graph[op.inputs[0]].size, first_classes=_first(op))

    def used(self, op: Op, run: Run) -> int:
        """How many logits count: this step's label may be the first of its class."""
        return max(run.step.classes, _first(op), run.step.label + 1)


OPERATORS = (GrowingSoftmax(), GrowingSoftmaxCrossEntropy())
