"""Log-densities of Gaussians relative to the largest: naive Bayes and Gaussian mixtures.

A component's density is exp(-1/2 * sum of squared deviations), each deviation a weighted sum of the
features: of one with diagonal covariances, of the first ones (up to its own) with full ones, whose
weights are a triangular factor of the precision.  Deviations have 8 fractional bits, squares are
added in 64.

Inputs: x int8 [1, F]; weights int16 [C, F], or if full [C, F * (F + 1) / 2]; bias int32 [C, F];
shift int8 [C, F]; start int32 [C]: the log-density at the mean, weight included, in 2^-17.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Address, Call, Cost, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import rounding_shift_right
from tinykit.ops.scores import WORD, score_codes, scores_struct

DEVIATION = 2.0**-8  # of a standard deviation
DENSITY = 2.0**-17  # unit of log-densities
SCORE = 2.0**-8  # and of their differences
LARGEST = 2**26  # deviation: 1,024 squares fit into 62 bits
MOST_FEATURES = 1024


@dataclass(frozen=True)
class GaussiansAttributes(Attributes):
    full: bool = False


class Gaussians(Operator[GaussiansAttributes]):
    kind = "gaussians"
    note = f"of models from scikit-learn; any covariances, up to {MOST_FEATURES:,} features"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        x, weights, bias, shift, start = (graph[name] for name in op.inputs)
        components, features = start.size, x.size
        row = features * (features + 1) // 2 if self.attributes(op).full else features
        sound = (
            weights.shape == (components, row)
            and bias.shape == shift.shape == (components, features)
            and features <= MOST_FEATURES
            and int(np.abs(shift.value.astype(np.int64)).max()) <= 30
            and self._fits(op, weights.value, bias.value)
        )
        if not sound:
            raise ModelError(
                f"layer {op.name}: weights {list(weights.shape)} do not fit input "
                f"{list(x.shape)} and {components} components, or 32 bits"
            )
        return ((1, components),)

    def _fits(self, op: Op, weights: Array, bias: Array) -> bool:
        sums = np.abs(self._square(op, weights, bias.shape[1]).astype(np.int64)).sum(axis=2)
        return int((128 * sums + np.abs(bias.astype(np.int64))).max()) < 2**31

    def _square(self, op: Op, weights: Array, features: int) -> Array:
        """[C, F, F] of the stored weights."""
        square = np.zeros((len(weights), features, features), np.int64)
        rows, columns = np.arange(features), np.arange(features)
        if self.attributes(op).full:
            rows, columns = np.tril_indices(features)
        square[:, rows, columns] = weights
        return square

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        x, weights, bias, shift, start = (run[name].astype(np.int64) for name in op.inputs)
        sums = self._square(op, weights, x.size) @ x.reshape(-1) + bias
        right = rounding_shift_right(sums, np.maximum(shift, 0))
        deviations = np.clip(right << np.maximum(-shift, 0), -LARGEST, LARGEST)
        densities = start - (deviations**2).sum(axis=1)
        below = np.minimum((densities.max() - densities + 511) >> 9, 2**31 - 1)
        return (score_codes(-below, SCORE, run.graph[op.outputs[0]]),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        weights, bias = graph[op.inputs[1]].size, graph[op.inputs[2]].size
        return Cost(macs=weights + bias, elements=graph[op.outputs[0]].size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, weights, bias, shift, start = (graph[name] for name in op.inputs)
        y = graph[op.outputs[0]]
        struct = Struct(
            "tk_gaussians",
            {
                "weights": Address(weights.name),
                "bias": Address(bias.name),
                "shift": Address(shift.name),
                "start": Address(start.name),
                "scores": scores_struct(SCORE, y),
                "features": x.size,
                "full": int(self.attributes(op).full),
            },
        )
        scratch = 3 * WORD * y.size
        return (Call("tk_gaussians_s8", struct, (x.name, y.name, "$scratch"), scratch),)


OPERATOR = Gaussians()
