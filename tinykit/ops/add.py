"""ADD: int8 elementwise sum with rescaling, as TensorFlow Lite Micro computes it.

Inputs: a, b with b's shape equal to a's, or a suffix of it (a constant per channel, a scalar).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.convolution_gradient import activation_gradient
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import (
    activation_range,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)
from tinykit.ops.linear_grad import linear_gradient
from tinykit.ops.rows import Reach, Row, RowForm, has_rows

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

LEFT_SHIFT = 20  # kAddIntegerBits of TFLite: the head-room in which both inputs are summed


@dataclass(frozen=True)
class AddAttributes(Attributes):
    activation: str = "none"


def multipliers(graph: Graph, op: Op) -> tuple[tuple[int, int], ...]:
    """(multiplier, shift) of a, of b, and of the output (CalculateOpDataAdd)."""
    scale_a, scale_b = (graph[name].quant.scale0 for name in op.inputs[:2])
    twice_max = 2.0 * max(scale_a, scale_b)
    scale_y = graph[op.outputs[0]].quant.scale0
    return (
        quantize_multiplier(scale_a / twice_max),
        quantize_multiplier(scale_b / twice_max),
        quantize_multiplier(twice_max / ((1 << LEFT_SHIFT) * scale_y)),
    )


def repeats(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether b, its leading ones aside, is a suffix of a: so it repeats over a's elements."""
    core = b
    while core and core[0] == 1:
        core = core[1:]
    return len(b) <= len(a) and (not core or a[-len(core) :] == core)


class Add(Operator[AddAttributes]):
    kind = "add"
    cores = "ARMv6-M, DSP, Helium"
    tflite = ("ADD",)
    note = "int8; equal shapes, or one input that repeats (per channel, scalar)"
    in_place = 0

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        a, b = (graph[name].shape for name in op.inputs[:2])
        if not repeats(a, b):
            raise ModelError(f"layer {op.name}: cannot add {list(b)} to {list(a)}")
        return (a,)

    def channel_flow(self, graph: Graph, op: Op) -> Literal["fixed", "through", "mixes"]:
        a, b = (graph[name] for name in op.inputs[:2])
        same = a.shape == b.shape and not a.constant and not b.constant
        return "through" if same else "fixed"

    def monotone(self, graph: Graph, op: Op) -> bool:
        return True

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        graph, y = run.graph, run.graph[op.outputs[0]]
        *inputs, (multiplier, shift) = multipliers(graph, op)
        total: Array = np.zeros((), np.int64)
        for name, (m, s) in zip(op.inputs, inputs, strict=True):
            x = run[name].astype(np.int64) - graph[name].quant.zero_point0
            total = total + multiply_by_quantized_multiplier(
                x << LEFT_SHIFT, np.array(m), np.array(s)
            )
        out = multiply_by_quantized_multiplier(total, np.array(multiplier), np.array(shift))
        low, high = activation_range(self.attributes(op).activation, y.quant)
        return (np.clip(out + y.quant.zero_point0, low, high).astype(np.int8),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        a, b, y = graph[op.inputs[0]], graph[op.inputs[1]], graph[op.outputs[0]]
        (m_a, s_a), (m_b, s_b), (m_y, s_y) = multipliers(graph, op)
        low, high = activation_range(self.attributes(op).activation, y.quant)
        struct = Struct(
            "tk_add",
            {
                "repeats": a.size // b.size,
                "size": b.size,
                "multiplier_a": m_a,
                "multiplier_b": m_b,
                "output_multiplier": m_y,
                "shift_a": s_a,
                "shift_b": s_b,
                "output_shift": s_y,
                "zero_point_a": a.quant.zero_point0,
                "zero_point_b": b.quant.zero_point0,
                "output_zero_point": y.quant.zero_point0,
                "activation_min": low,
                "activation_max": high,
            },
        )
        return (Call("tk_add_s8", struct, (a.name, b.name, y.name)),)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        a, b, y = graph[op.inputs[0]], graph[op.inputs[1]], graph[op.outputs[0]]
        (call,) = self.lower(graph, op)
        row = a.size // a.shape[1] if has_rows(a, y) else 0
        if not row or call.descriptor is None:
            return None
        second: str | Row
        if b.storage == "arena" and b.shape == a.shape:
            reads, second, size = {a.name: Reach(), b.name: Reach()}, Row(b.name), row
        elif b.storage != "arena" and row % b.size == 0:  # repeats within a row
            reads, second, size = {a.name: Reach()}, b.name, b.size
        else:
            return None
        fields = {**call.descriptor.fields, "size": size, "repeats": row // size}
        call = Call(call.function, Struct("tk_add", fields), (Row(a.name), second, Row(y.name)))
        return RowForm(y.shape[1], reads, call)

    def gradient(self, op: Op, tape: Tape) -> None:
        gradient = activation_gradient(op, tape, self.attributes(op).activation)
        for name in op.inputs[:2]:
            linear_gradient(op, tape, gradient, name, constant=1.0)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(2, 3))
        a, b, y = node.input(0), node.input(1), node.output()
        if (a.size, a.shape == y.shape, not a.constant) < (
            b.size,
            b.shape == y.shape,
            not b.constant,
        ):
            a, b = b, a  # the sum commutes exactly
        node.expect(
            a.shape == y.shape and repeats(a.shape, b.shape) and not a.constant,
            f"shapes {list(a.shape)} and {list(b.shape)} cannot be added",
            "supported are equal shapes, and an input that repeats: per channel, or one value",
        )
        largest = 2 * max(a.quant.scale0, b.quant.scale0)
        node.expect(
            largest < (1 << LEFT_SHIFT) * y.quant.scale0 and math.isfinite(largest),
            "the output's scale is too small for the inputs' scales",
        )
        attributes = AddAttributes(node.activation)
        return (node.op(self.kind, (a.name, b.name), attributes),)


OPERATOR = Add()
