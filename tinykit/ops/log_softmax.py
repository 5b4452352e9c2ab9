"""LOG_SOFTMAX: int8 to int8 over the last axis, in TFLM's fixed-point arithmetic (gemmlowp)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Field, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import (
    INT32_MIN,
    doubling_high_multiply,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_shift_right,
)
from tinykit.ops.gemmlowp import exp_of_negative, newton_reciprocal, shift_left
from tinykit.ops.softmax import MAX_DEPTH, SCALED_BITS, SUM_BITS, Scaling, scaling

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

OUTPUT = (16 / 256, 127)  # scale, zero point
OUTPUT_SHIFT = 31 - SCALED_BITS - 4


def reverse_scaling(s: Scaling) -> tuple[int, int]:
    """(multiplier, shift) from scaled differences to codes (PreprocessLogSoftmaxScalingExp)."""
    return quantize_multiplier(2.0 ** (31 - s.shift) / s.multiplier)


def logarithm(sums: Array) -> Array:
    """log(x) in Q5.26 of x >= 1 in Q12.19 (log_x_for_x_greater_than_or_equal_to_1).

    By z * 2^n with z near 1, in two ways of which the better is taken, and a rational function.
    """
    multiply = doubling_high_multiply
    root, fourth_root = np.array(1518500250), np.array(1805811301)  # of 1/2, in Q0.31
    z = sums.astype(np.int64)
    zeros = np.array([32 - int(x).bit_length() for x in z.flat]).reshape(z.shape)
    first = shift_left(multiply(shift_left(z, zeros - 1), root), 1)
    quarter = 1 << 23  # in Q6.25
    power = ((SUM_BITS - zeros) << 25) + quarter
    spare = np.array([31 - int(x).bit_length() for x in multiply(z, root).flat]).reshape(z.shape)
    second = shift_left(z, spare)
    power = np.maximum(power, ((SUM_BITS - spare) << 25) - quarter)
    r = np.minimum(first, second)
    p = (r + fourth_root + 1) >> 1  # both are positive
    q = 2 * (r - fourth_root)
    square = multiply(q, q)
    numerator = multiply(q, r) + multiply(multiply(q, square), np.array(117049297))
    factor = 1057819769 + q + multiply(np.array(127690142), square)
    denominator = multiply(p, factor) + multiply(np.array(638450708), q)  # minus 1
    inverse = shift_left(newton_reciprocal(denominator), 1)
    result = multiply(power, np.array(1488522236))  # times log(2)
    result = result + multiply(rounding_shift_right(numerator, 6), inverse)
    return shift_left(result, 1)


class LogSoftmax(Operator[Attributes]):
    kind = "log_softmax"
    tflite = ("LOG_SOFTMAX",)
    note = f"int8 to int8 (scale 1/16, zero point 127), up to {MAX_DEPTH} classes"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        s = scaling(run.graph[op.inputs[0]].quant.scale0, 1.0)
        x = run[op.inputs[0]].astype(np.int64)
        diff = x - x.max(axis=-1, keepdims=True)
        counts = diff >= s.diff_min
        scaled = doubling_high_multiply(
            np.where(counts, diff, 0) << s.shift, np.array(s.multiplier)
        )
        terms = rounding_shift_right(exp_of_negative(scaled, SCALED_BITS), SUM_BITS)
        log = logarithm(np.where(counts, terms, 0).sum(axis=-1, keepdims=True))
        multiplier, shift = reverse_scaling(s)
        least = multiply_by_quantized_multiplier(
            log + INT32_MIN, np.array(multiplier), np.array(shift)
        )
        least = np.maximum(least, s.diff_min - 1)
        out = rounding_shift_right(scaled - log, OUTPUT_SHIFT) + OUTPUT[1]
        return (np.where(diff > least, np.clip(out, -128, 127), -128).astype(np.int8),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        s = scaling(x.quant.scale0, 1.0)
        multiplier, shift = reverse_scaling(s)
        inner: dict[str, Field] = {
            "rows": x.size // x.shape[-1],
            "depth": x.shape[-1],
            "multiplier": s.multiplier,
            "shift": s.shift,
            "diff_min": s.diff_min,
        }
        struct = Struct(
            "tk_log_softmax",
            {
                "scaling": Struct("tk_softmax", inner),
                "reverse_multiplier": multiplier,
                "reverse_shift": shift,
            },
        )
        return (Call("tk_log_softmax_s8", struct, (x.name, y.name)),)

    def gradient(self, op: Op, tape: Tape) -> None:
        x, y = tape.graph[op.inputs[0]], op.outputs[0]
        inputs = (tape.gradient_of(y), y)
        tape.contribute(x.name, tape.emit("log_softmax_grad", op, inputs, x.shape))

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 2))
        x, y = node.input(), node.output()
        scale, zero = OUTPUT
        node.expect(
            (y.quant.scale0, y.quant.zero_point0) == OUTPUT,
            f"output quantized {y.quant.scale0:g}/{y.quant.zero_point0}; "
            f"supported is {scale:g}/{zero}",
        )
        node.expect(x.shape[-1] <= MAX_DEPTH, f"{x.shape[-1]} classes; at most {MAX_DEPTH}")
        real = x.quant.scale0 * 2.0 ** (31 - SCALED_BITS)
        node.expect(
            real > 1 and math.frexp(real)[1] <= 31,
            f"input scale {x.quant.scale0:g} is out of range",
        )
        return (node.op(self.kind, (x.name,)),)


OPERATOR = LogSoftmax()
