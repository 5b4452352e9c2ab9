"""Sums of radial basis functions around stored rows: the decisions of RBF support vector machines.

Inputs: x int8 [1, F]; vectors int8 [V, F] of the same scales, group by group; weights int16
[V, columns]; members int32 [groups], adding up to V; output int32 [groups, columns], the output
that a weight adds to; start int32 [C].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Address, Call, Cost, Operator, Struct, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import (
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    requantize,
)
from tinykit.ops.nearest import MOST_FEATURES
from tinykit.ops.scores import WORD

ONE = 15  # bits of a radial function's fraction
POWER = np.round(2.0**ONE * 2.0 ** (-np.arange(256) / 256)).astype(np.uint16)
OCTAVES = 16  # below 2^-16 a function counts as 0


@dataclass(frozen=True)
class RadialAttributes(Attributes):
    """A function is exp(-gamma * squared distance in codes); sums have this scale.

    down: bits by which products of weight and function are shifted before they are added.
    """

    gamma: float = 1.0
    scale: float = 1.0
    down: int = 0

    @property
    def rate(self) -> float:
        """1/256 octaves for each unit of squared distance."""
        return 256 * self.gamma / math.log(2)

    @property
    def limit(self) -> int:
        """The squared distance from which on a function counts as 0."""
        return min(math.ceil(OCTAVES * 256 / self.rate), 2**31 - 1)


class Radial(Operator[RadialAttributes]):
    kind = "radial"
    note = "of models from scikit-learn: RBF kernels, by a table of 256 powers of two"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        x, vectors, weights, members, output, start = (graph[name] for name in op.inputs)
        count, columns, attributes = vectors.shape[0], weights.shape[1], self.attributes(op)
        sound = (
            vectors.shape == (count, x.size)
            and x.size <= MOST_FEATURES
            and weights.shape[0] == count == members.value.sum()
            and members.value.min() >= 0
            and output.shape == (members.size, columns)
            and bool(((output.value >= 0) & (output.value < start.size)).all())
            and start.size <= 256
            and 0 <= attributes.down <= 30
            and attributes.gamma > 0
            and self._fits(attributes, weights.value, start.value)
        )
        if not sound:
            raise ModelError(
                f"layer {op.name}: vectors {list(vectors.shape)}, weights {list(weights.shape)} "
                f"do not fit input {list(x.shape)} and {start.size} outputs"
            )
        return ((1, start.size),)

    def _fits(self, attributes: RadialAttributes, weights: Array, start: Array) -> bool:
        terms = (np.abs(weights.astype(np.int64)) << ONE >> attributes.down) + 1
        return int(terms.sum() + np.abs(start.astype(np.int64)).max()) < 2**31

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        x, vectors, weights, members, output, start = (
            run[name].astype(np.int64) for name in op.inputs
        )
        attributes, y = self.attributes(op), run.graph[op.outputs[0]]
        distances = ((vectors - x.reshape(1, -1)) ** 2).sum(axis=1)
        near = distances < attributes.limit
        rate, shift = quantize_multiplier(attributes.rate)
        exponent = multiply_by_quantized_multiplier(
            np.where(near, distances, 0), np.array(rate), np.array(shift)
        )
        power = np.where(near, POWER[exponent & 255].astype(np.int64) >> (exponent >> 8), 0)
        terms = weights * power[:, None] >> attributes.down
        sums = start.copy()
        np.add.at(sums, np.repeat(output, members, axis=0), terms)
        multiplier, shift = quantize_multiplier(attributes.scale / y.quant.scale0)
        out = requantize(
            sums, np.array(multiplier), np.array(shift), y.quant.zero_point0, -128, 127
        )
        return (out.reshape(y.shape),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        vectors, weights = graph[op.inputs[1]], graph[op.inputs[2]]
        return Cost(macs=vectors.size + weights.size, elements=vectors.shape[0])

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, vectors, weights, members, output, start = (graph[name] for name in op.inputs)
        y, attributes = graph[op.outputs[0]], self.attributes(op)
        multiplier, shift = quantize_multiplier(attributes.scale / y.quant.scale0)
        rate, rate_shift = quantize_multiplier(attributes.rate)
        struct = Struct(
            "tk_radial",
            {
                "vectors": Address(vectors.name),
                "weights": Address(weights.name),
                "members": Table("uint16_t", members.value.astype(np.uint16)),
                "output": Table("uint8_t", output.value.astype(np.uint8)),
                "power": Table("uint16_t", POWER),
                "start": Address(start.name),
                "multiplier": multiplier,
                "rate": rate,
                "limit": attributes.limit,
                "features": x.size,
                "groups": members.size,
                "columns": weights.shape[1],
                "outputs": y.size,
                "zero_point": y.quant.zero_point0,
                "shift": shift,
                "rate_shift": rate_shift,
                "down": attributes.down,
            },
        )
        return (Call("tk_radial_s8", struct, (x.name, y.name, "$scratch"), WORD * y.size),)


OPERATOR = Radial()
