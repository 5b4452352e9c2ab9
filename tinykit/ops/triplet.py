"""Classes by the nearest centre of their embeddings, and the loss that moves embeddings there.

A centre is the mean of a class's embeddings, int16 in units of 1/128 of the embedding's codes,
[N, D]; int16 [N] counts its samples (0: the class is not in use yet), at most WINDOW: from then on
older samples fade.  With D_c the squared distance of an embedding from centre c, exact in 64 bits:

`class_centres`: probabilities proportional to exp(-D_c / margin), of the classes in use.
`triplet`: loss = max(0, D_t - D_n + margin), t the label's class and n the nearest other one, as in
He et al., Triplet-Center Loss (CVPR 2018).  Its derivative by the embedding is 2 (c_n - c_t): int16
with exponent -14, divided by a power of two as for mean squared error.  Then the sample enters the
centre of its class.  While t or n is not in use, loss and gradient are 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Cost, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.float_arithmetic import exp32
from tinykit.ops.gradient_arithmetic import shift_round
from tinykit.ops.softmax_cross_entropy import GRADIENT_EXPONENT, LossAttributes
from tinykit.ops.target import TargetForm

F = np.float32
CENTRE = 128  # units of a centre in a code of the embedding
STATES = ("class/centre", "class/samples")  # tensors of a graph with a triplet loss
WINDOW = 32  # samples that a centre is the mean of


@dataclass(frozen=True)
class CentresAttributes(Attributes):
    """margin: a squared distance, in real units of the embedding."""

    margin: float = 1.0


@dataclass(frozen=True)
class TripletAttributes(LossAttributes):
    """classes: how many there may be; margin: as above."""

    classes: int = 2
    margin: float = 1.0


def unit(graph: Graph, op: Op) -> float:
    """Real length of a centre's unit."""
    return graph[op.inputs[0]].quant.scale0 / CENTRE


def _distances(run: Run, op: Op) -> tuple[Array, Array, Array, Array]:
    """(embedding in centres' units, centres, counts, squared distances), int64."""
    y, centres, counts = (run[name].astype(np.int64) for name in op.inputs)
    y = y.reshape(-1) * CENTRE
    return y, centres, counts, np.square(y - centres).sum(axis=1)


def _float32(whole: int) -> np.float32:
    """A whole number of up to 63 bits, as C converts it: in two halves."""
    size = abs(whole)
    value = F(F(F(size >> 32) * F(2.0**32)) + F(size & 0xFFFFFFFF))
    return F(-value) if whole < 0 else value


class ClassCentres(Operator[CentresAttributes]):
    kind = "class_centres"
    note = 'probabilities by the nearest class centre; made by [training] loss = "triplet"'

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return ((1, graph[op.inputs[1]].shape[0]),)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        _, _, counts, distances = _distances(run, op)
        codes = np.full((1, counts.size), -128, np.int8)
        used = np.flatnonzero(counts)
        if used.size:
            by_margin = _descriptor_floats(run.graph, op, self.attributes(op).margin)[1]
            nearest = int(distances[used].min())
            exps = [exp32(F(-F(_float32(int(distances[c]) - nearest) * by_margin))) for c in used]
            total = F(0.0)
            for value in exps:
                total = F(total + value)
            for c, value in zip(used, exps, strict=True):
                codes[0, c] = min(int(F(F(F(value / total) * F(256.0)) + F(0.5))), 255) - 128
        return (codes,)

    def cost(self, graph: Graph, op: Op) -> Cost:
        return Cost(macs=2 * graph[op.inputs[1]].size, elements=graph[op.outputs[0]].size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        struct = _struct(graph, op, self.attributes(op).margin, 0.0)
        arguments = (*op.inputs, op.outputs[0], "$scratch")
        scratch = 4 * graph[op.outputs[0]].size
        return (Call("tk_class_centres_s8", struct, arguments, scratch=scratch),)


class Triplet(Operator[TripletAttributes]):
    kind = "triplet"

    def target(self, graph: Graph, op: Op) -> TargetForm:
        """The targets that the loss takes."""
        return TargetForm(self.kind, self.attributes(op).classes)

    def may_end(self, op: Op) -> bool:
        return self.attributes(op).guard_loss > 0

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        step, graph, attributes = run.step, run.graph, self.attributes(op)
        y, centres, counts, distances = _distances(run, op)
        label, shape = step.label, graph[op.outputs[0]].shape
        used = np.flatnonzero(counts)
        step.prediction = int(used[distances[used].argmin()]) if used.size else -1
        others = used[used != label]
        direction, step.loss = np.zeros(y.size, np.int64), 0.0
        if counts[label] and others.size:
            nearest = others[distances[others].argmin()]
            square, _, _ = _descriptor_floats(graph, op, attributes.margin)
            apart = _float32(int(distances[label]) - int(distances[nearest]))
            loss = F(F(apart * square) + F(attributes.margin))
            if loss > 0:
                step.loss = float(loss)
                direction = centres[nearest] - centres[label]
        step.skips = bool(0 < F(attributes.guard_loss) < F(step.loss))

        largest = int(np.abs(direction).max())
        bits = max(largest - 1, 0).bit_length() + step.headroom
        by_unit = _descriptor_floats(graph, op, attributes.margin)[2]
        step.normalisation = float(F(by_unit * F(math.ldexp(1.0, bits)))) if largest else 0.0
        step.rate = float(F(F(step.learning_rate) / F(step.accumulate)) * F(step.normalisation))
        if run.real:
            gradient = direction * 2 * unit(graph, op) / (step.normalisation or 1.0)
        else:
            gradient = shift_round(direction, bits + GRADIENT_EXPONENT).astype(np.int16)
        if not step.skips:
            count = min(int(counts[label]) + 1, WINDOW)
            away = y - centres[label]
            centres[label] += np.sign(away) * ((np.abs(away) + count // 2) // count)
            counts[label] = count
        return gradient.reshape(shape), centres.astype(np.int16), counts.astype(np.int16)

    def cost(self, graph: Graph, op: Op) -> Cost:
        return Cost(macs=graph[op.inputs[1]].size, elements=2 * graph[op.inputs[0]].size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        struct = _struct(graph, op, attributes.margin, attributes.guard_loss)
        arguments = (*op.inputs, op.outputs[0], "$target", "$trainer", "$step")
        return (Call("tk_triplet_s8", struct, arguments),)


def _descriptor_floats(
    graph: Graph, op: Op, margin: float
) -> tuple[np.float32, np.float32, np.float32]:
    """Squared distances in real units and in margins, and twice a distance, by their integers."""
    length = unit(graph, op)
    return F(length**2), F(length**2 / margin), F(2 * length)


def _struct(graph: Graph, op: Op, margin: float, guard_loss: float) -> Struct:
    square, by_margin, twice = _descriptor_floats(graph, op, margin)
    classes, size = graph[op.inputs[1]].shape
    if size != graph[op.inputs[0]].size:
        raise PlanError(f"{graph.name}: centres of {size} values for another embedding")
    return Struct(
        "tk_class_centres",
        {
            "square": float(square),
            "by_margin": float(by_margin),
            "twice": float(twice),
            "margin": margin,
            "guard_loss": guard_loss,
            "classes": classes,
            "size": size,
            "window": WINDOW,
        },
    )


OPERATORS = (ClassCentres(), Triplet())
