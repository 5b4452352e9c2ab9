"""SOFTMAX: int8 to int8 over the last axis, in TFLM's fixed-point arithmetic (gemmlowp)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    doubling_high_multiply,
    quantize_multiplier,
    rounding_shift_right,
)

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode

SCALED_BITS = 5  # integer bits of the scaled differences
SUM_BITS = 12  # integer bits of the sum of exponentials
MAX_DEPTH = 4095  # classes whose sum fits into SUM_BITS


@dataclass(frozen=True)
class SoftmaxAttributes(Attributes):
    beta: float = 1.0


@dataclass(frozen=True)
class Scaling:
    """input difference * multiplier * 2**(shift - 31) has SCALED_BITS integer bits;
    differences below diff_min count as minus infinity."""

    multiplier: int
    shift: int
    diff_min: int


def scaling(scale: float, beta: float) -> Scaling:
    """PreprocessSoftmaxScaling and CalculateInputRadius."""
    real = min(beta * scale * (1 << (31 - SCALED_BITS)), 2**31 - 1.0)
    multiplier, shift = quantize_multiplier(real)
    radius = ((1 << SCALED_BITS) - 1) * 2.0 ** (31 - SCALED_BITS) / 2.0**shift
    return Scaling(multiplier, shift, -math.floor(radius))


def _shift_left(x: Array, bits: int) -> Array:
    return np.clip(x << bits, INT32_MIN, INT32_MAX)


def exp_of_negative(a: Array, bits: int = SCALED_BITS) -> Array:
    """exp(a) in Q0.31 for a <= 0 with `bits` (at most 5) integer bits (gemmlowp's
    exp_on_negative_values)."""
    multiply = doubling_high_multiply
    a = a.astype(np.int64)
    quarter = 1 << (29 - bits)
    below = (a & (quarter - 1)) - quarter  # a modulo 1/4, minus 1/4
    # exp on [-1/4, 0) around -1/8, by its Taylor series
    x = (below << bits) + (1 << 28)
    x2 = multiply(x, x)
    x3 = multiply(x2, x)
    x4_over_4 = rounding_shift_right(multiply(x2, x2), 2)
    third, exp_eighth = np.array(715827883), np.array(1895147668)
    series = rounding_shift_right(multiply(x4_over_4 + x3, third) + x2, 1)
    result = exp_eighth + multiply(exp_eighth, x + series)
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for i, factor in enumerate(factors[: bits + 2]):  # exp(-1/4), exp(-1/2), exp(-1) …
        set_bit = ((below - a) >> (29 - bits + i)) & 1
        result = np.where(set_bit != 0, multiply(result, np.array(factor)), result)
    return np.where(a == 0, INT32_MAX, result)


def reciprocal(total: Array) -> tuple[Array, Array]:
    """(1 / sum in Q0.31 of the normalised sum, bits by which it was normalised)."""
    headroom = np.array([32 - int(t).bit_length() for t in total.flat]).reshape(total.shape)
    fraction = (total << headroom) - (1 << 31)
    return one_over_one_plus(fraction), SUM_BITS - headroom


def one_over_one_plus(fraction: Array) -> Array:
    """1 / (1 + fraction), all in Q0.31 (gemmlowp's one_over_one_plus_x_for_x_in_0_1)."""
    multiply = doubling_high_multiply
    half = (fraction + INT32_MAX + 1) >> 1  # (1 + fraction) / 2
    x = 1515870810 + multiply(half, np.array(-1010580540))
    for _ in range(3):  # Newton
        error = (1 << 29) - multiply(half, x)
        x = x + _shift_left(multiply(x, error), 2)
    return _shift_left(x, 1)


class Softmax(Operator[SoftmaxAttributes]):
    kind = "softmax"
    tflite: ClassVar[tuple[str, ...]] = ("SOFTMAX",)
    note = f"int8 to int8 (scale 1/256, zero point -128), up to {MAX_DEPTH} classes"
    in_place = 0

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        s = scaling(run.graph[op.inputs[0]].quant.scale0, self.attributes(op).beta)
        x = run[op.inputs[0]].astype(np.int64)
        diff = x - x.max(axis=-1, keepdims=True)
        counts = diff >= s.diff_min
        scaled = doubling_high_multiply(
            np.where(counts, diff, 0) << s.shift, np.array(s.multiplier)
        )
        exponential = exp_of_negative(scaled)
        terms = np.where(counts, rounding_shift_right(exponential, SUM_BITS), 0)
        inverse, bits = reciprocal(terms.sum(axis=-1, keepdims=True))
        product = doubling_high_multiply(inverse, exponential)
        out = np.where(counts, rounding_shift_right(product, bits + 31 - 8) - 128, -128)
        return (np.clip(out, -128, 127).astype(np.int8),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        s = scaling(x.quant.scale0, self.attributes(op).beta)
        struct = Struct(
            "tk_softmax",
            {
                "rows": x.size // x.shape[-1],
                "depth": x.shape[-1],
                "multiplier": s.multiplier,
                "shift": s.shift,
                "diff_min": s.diff_min,
            },
        )
        return (Call("tk_softmax_s8", struct, (x.name, y.name)),)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 2))
        x, y = node.input(), node.output()
        node.expect(
            y.quant.scale0 == 1 / 256 and y.quant.zero_point0 == -128,
            f"output quantized {y.quant.scale0:g}/{y.quant.zero_point0}; supported is 1/256/-128",
        )
        node.expect(x.shape[-1] <= MAX_DEPTH, f"{x.shape[-1]} classes; at most {MAX_DEPTH}")
        beta = float(node.options.get("Beta", 1.0))
        node.expect(
            math.isfinite(beta) and beta * x.quant.scale0 * 2.0 ** (31 - SCALED_BITS) > 1,
            f"beta {beta:g} with input scale {x.quant.scale0:g} is out of range",
        )
        return (node.op(self.kind, (x.name,), SoftmaxAttributes(beta)),)


OPERATOR = Softmax()
