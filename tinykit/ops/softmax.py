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
    doubling_high_multiply,
    quantize_multiplier,
    rounding_shift_right,
)
from tinykit.ops.gemmlowp import exp_of_negative, newton_reciprocal, shift_left
from tinykit.ops.softmax_grad import SoftmaxGradAttributes

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

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


def reciprocal(total: Array) -> tuple[Array, Array]:
    """(1 / sum in Q0.31 of the normalised sum, bits by which it was normalised)."""
    headroom = np.array([32 - int(t).bit_length() for t in total.flat]).reshape(total.shape)
    fraction = (total << headroom) - (1 << 31)
    return shift_left(newton_reciprocal(fraction), 1), SUM_BITS - headroom


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
        exponential = exp_of_negative(scaled, SCALED_BITS)
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

    def gradient(self, op: Op, tape: Tape) -> None:
        x, y = tape.graph[op.inputs[0]], op.outputs[0]
        attributes = SoftmaxGradAttributes(self.attributes(op).beta)
        gradient = tape.gradient_of(y)
        result = tape.emit("softmax_grad", op, (gradient, y), x.shape, attributes)
        tape.contribute(x.name, result)

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
