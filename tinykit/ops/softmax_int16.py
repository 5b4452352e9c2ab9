"""SOFTMAX of int16: to Q0.15 over the last axis, by two tables, as TensorFlow Lite Micro."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call, Field, Operator, Struct, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from tinykit.ops.softmax import SoftmaxAttributes

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode

OUTPUT_SCALE = 2.0**-15
LARGEST_SHIFT = 14  # of differences, which have 17 bits


def _rounded(x: Array) -> Array:
    """float32, halves away from zero."""
    return np.asarray(np.trunc(x + np.copysign(np.float32(0.5), x)), np.float32)


def _table(function: Callable[[Array], Array], low: float, high: float) -> Array:
    """int16 [513] in Q0.15 of a function over [low, high], in float32 as TFLite's gen_lut; each
    entry is moved by half the error in the middle of its step."""
    one, two = np.float32(2**15), np.float32(2)
    step = np.float32(high - low) / np.float32(512)
    places = np.float32(low) + np.arange(513, dtype=np.float32) * step
    values, middle = function(places) * one, function(places[:-1] + step / two) * one
    straight = _rounded((values[1:] + _rounded(values[:-1])) / two)
    entries = _rounded(values)
    entries[:-1] -= _rounded((straight - _rounded(middle)) / two)
    return np.asarray(np.clip(entries, -32768, 32767), np.int16)


EXPONENTIAL = _table(np.exp, -10.0, 0.0)
RECIPROCAL = _table(lambda x: np.float32(1) / (np.float32(1) + x), 0.0, 1.0)


def _interpolated(table: Array, x: Array) -> Array:
    place = 256 + (x >> 7)
    low, high = (table[i].astype(np.int64) for i in (place, place + 1))
    return np.asarray(low + (((high - low) * (x & 127) + 64) >> 7))


def probabilities(x: Array, multiplier: int, shift: int) -> Array:
    """int16 probabilities in Q0.15 along the last axis (SoftmaxInt16)."""
    difference = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
    scaled = multiply_by_quantized_multiplier(difference, np.array(multiplier), np.array(shift))
    exponential = _interpolated(EXPONENTIAL, np.clip(scaled + 32767, -32768, 32767))
    total = exponential.sum(axis=-1, keepdims=True)
    zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    shifted = ((total << (zeros - 1)) + (1 << 13)) >> 14
    fraction = np.clip(shifted - (1 << 15) - (1 << 16), -32768, 32767)
    right = 31 - zeros
    product = exponential * _interpolated(RECIPROCAL, fraction)
    result = (product + (np.int64(1) << (right - 1))) >> right
    return np.asarray(np.clip(result, 0, 32767), np.int16)


class SoftmaxInt16(Operator[SoftmaxAttributes]):
    kind = "softmax_int16"
    int16 = ("SOFTMAX",)
    note = "output of scale 1/32768"

    def scaling(self, graph: Graph, op: Op) -> tuple[int, int]:
        """(multiplier, shift) from differences of codes to steps of 10 / 65535."""
        scale = graph[op.inputs[0]].quant.scale0 * self.attributes(op).beta
        return quantize_multiplier(scale / (10.0 / 65535.0))

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        return (probabilities(run[op.inputs[0]], *self.scaling(run.graph, op)),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        multiplier, shift = self.scaling(graph, op)
        fields: dict[str, Field] = {
            "exponential": Table("int16_t", EXPONENTIAL),
            "reciprocal": Table("int16_t", RECIPROCAL),
            "rows": x.size // x.shape[-1],
            "depth": x.shape[-1],
            "multiplier": multiplier,
            "shift": shift,
        }
        return (Call("tk_softmax_s16", Struct("tk_softmax16", fields), (x.name, y.name)),)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 2))
        x, y = node.input(), node.output()
        node.expect(
            y.quant.scale0 == OUTPUT_SCALE,
            f"output of scale {y.quant.scale0:g}; supported is 1/32768",
        )
        node.expect(x.shape[-1] <= node.LARGEST, f"{x.shape[-1]} classes")
        beta = float(node.options.get("Beta", 1.0))
        node.expect(math.isfinite(beta) and beta >= 0, f"beta is {beta:g}")
        op = node.op(self.kind, (x.name,), SoftmaxAttributes(beta))
        _, shift = self.scaling(Graph("", node.tensors, (), (), ()), op)
        node.expect(
            shift <= LARGEST_SHIFT,
            f"beta {beta:g} with input scale {x.quant.scale0:g} is out of range",
        )
        return (op,)


OPERATOR = SoftmaxInt16()
