"""LOGISTIC: sigmoid, int8 to int8, in TFLM's fixed-point arithmetic (gemmlowp), as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Field, Operator, Struct, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import (
    INT32_MAX,
    doubling_high_multiply,
    quantize_multiplier,
    rounding_shift_right,
)
from tinykit.ops.softmax import exp_of_negative, one_over_one_plus

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode

INPUT_BITS = 4  # integer bits of the scaled input
OUTPUT_BITS = 8


def sigmoid_codes(codes: Array, scale: float, zero_point: int) -> Array:
    """int8 of scale 1/256, zero point -128 (reference_integer_ops::Logistic)."""
    multiplier, shift = quantize_multiplier(scale * (1 << (31 - INPUT_BITS)))
    radius = math.floor(((1 << INPUT_BITS) - 1) * 2.0 ** (31 - INPUT_BITS) / 2.0**shift)
    x = codes.astype(np.int64) - zero_point
    inside = np.abs(x) < radius
    scaled = doubling_high_multiply(np.where(inside, x, 0) << shift, np.array(multiplier))
    positive = one_over_one_plus(exp_of_negative(-np.abs(scaled), INPUT_BITS))
    result = np.where(scaled > 0, positive, INT32_MAX - positive)
    result = np.where(scaled == 0, 1 << 30, result)
    out = np.clip(rounding_shift_right(result, 31 - OUTPUT_BITS) - 128, -128, 127)
    return np.where(inside, out, np.where(x > 0, 127, -128)).astype(np.int8)


class Logistic(Operator[Attributes]):
    kind = "logistic"
    tflite = ("LOGISTIC",)
    note = "int8 to int8 (scale 1/256, zero point -128)"
    in_place = 0
    pointwise = True

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        quant = run.graph[op.inputs[0]].quant
        return (sigmoid_codes(run[op.inputs[0]], quant.scale0, quant.zero_point0),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x = graph[op.inputs[0]]
        table = sigmoid_codes(np.arange(-128, 128), x.quant.scale0, x.quant.zero_point0)
        fields: dict[str, Field] = {"table": Table("int8_t", table), "size": x.size}
        return (Call("tk_lookup_s8", Struct("tk_lookup", fields), (x.name, op.outputs[0])),)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 2))
        x, y = node.input(), node.output()
        node.expect(
            y.quant.scale0 == 1 / 256 and y.quant.zero_point0 == -128,
            f"output quantized {y.quant.scale0:g}/{y.quant.zero_point0}; supported is 1/256/-128",
        )
        node.expect(
            1 <= x.quant.scale0 * 2.0 ** (31 - INPUT_BITS) < 2.0**31,
            f"input scale {x.quant.scale0:g} is out of range",
        )
        return (node.op(self.kind, (x.name,), Attributes()),)


OPERATOR = Logistic()
