"""Functions of int16 codes: LOGISTIC, TANH, LEAKY_RELU, as TensorFlow Lite Micro computes them.

Sigmoid and tanh by interpolation in the table of 256 that the LSTM has as well.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinykit.ir import Array, Graph, Op, Quantization
from tinykit.ops.base import Call, Field, Operator, Struct, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from tinykit.ops.lstm import SIGMOID, sigmoid_of, tanh_of
from tinykit.ops.pointwise import PointwiseAttributes
from tinykit.ops.rows import Reach, Row, RowForm, has_rows

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode

OUTPUT_SCALE = 2.0**-15  # of LOGISTIC and TANH
LARGEST_SCALE = 2.0**16 / 12288  # of their inputs, whose products then fit 32 bits


def sigmoid_scaling(x: Quantization, exact: int) -> tuple[int, int]:
    """(multiplier, shift): code * multiplier / 2^shift is in steps of 1/12288.

    Scales from 2^-12 to 2^(exact - 12) that are powers of two are so exactly; LogisticPrepare,
    TanhPrepare.
    """
    for left in range(exact + 1):
        if x.scale0 == 2.0 ** (left - 12):
            return 3 << left, 0
    multiplier, shift = x.scale0 * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = 2 * multiplier, shift + 1
    return int(multiplier), shift


class PointwiseInt16(Operator[PointwiseAttributes]):
    """What the functions below share."""

    in_place = 0

    def function(self, codes: Array, x: Quantization, y: Quantization, alpha: float) -> Array:
        """int64 codes to int64 codes."""
        raise NotImplementedError

    def struct(self, x: Quantization, y: Quantization, alpha: float, size: int) -> Struct:
        """The kernel's descriptor."""
        raise NotImplementedError

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        x, y = run.graph[op.inputs[0]], run.graph[op.outputs[0]]
        alpha = self.attributes(op).alpha
        codes = self.function(run[x.name].astype(np.int64), x.quant, y.quant, alpha)
        return (np.clip(codes, -32768, 32767).astype(np.int16),)

    def _call(self, graph: Graph, op: Op, rows: int) -> Call:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        struct = self.struct(x.quant, y.quant, self.attributes(op).alpha, x.size // rows)
        return Call(f"tk_{self.kind.replace('int16', 's16')}", struct, (x.name, y.name))

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        return (self._call(graph, op, 1),)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        if not has_rows(x, y):
            return None
        whole = self._call(graph, op, x.shape[1])
        row = Call(whole.function, whole.descriptor, (Row(x.name), Row(y.name)))
        return RowForm(y.shape[1], {x.name: Reach()}, row)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 2))
        x, y = node.input(), node.output()
        self.check(node, x.quant, y.quant)
        attributes = PointwiseAttributes(float(node.options.get("Alpha", 0.0)))
        return (node.op(self.kind, (x.name,), attributes),)

    def check(self, node: TfliteNode, x: Quantization, y: Quantization) -> None:
        """Refuse quantizations that the reference arithmetic refuses."""


class LogisticInt16(PointwiseInt16):
    kind = "logistic_int16"
    int16 = ("LOGISTIC",)
    note = "output of scale 1/32768"
    exact: ClassVar[int] = 0

    def input(self, codes: Array, x: Quantization) -> Array:
        """Codes in steps of 1/12288."""
        multiplier, shift = sigmoid_scaling(x, self.exact)
        return np.asarray((codes * multiplier + ((1 << shift) >> 1)) >> shift)

    def function(self, codes: Array, x: Quantization, y: Quantization, alpha: float) -> Array:
        return sigmoid_of(self.input(codes, x))

    def struct(self, x: Quantization, y: Quantization, alpha: float, size: int) -> Struct:
        multiplier, shift = sigmoid_scaling(x, self.exact)
        fields: dict[str, Field] = {
            "sigmoid": Table("uint16_t", SIGMOID.astype(np.uint16)),
            "size": size,
            "multiplier": multiplier,
            "shift": shift,
        }
        return Struct("tk_sigmoid16", fields)

    def check(self, node: TfliteNode, x: Quantization, y: Quantization) -> None:
        node.expect(y.scale0 == OUTPUT_SCALE, f"output of scale {y.scale0:g}; supported is 1/32768")
        node.expect(x.scale0 < LARGEST_SCALE, f"input of scale {x.scale0:g}")


class TanhInt16(LogisticInt16):
    kind = "tanh_int16"
    int16 = ("TANH",)
    exact = 1

    def function(self, codes: Array, x: Quantization, y: Quantization, alpha: float) -> Array:
        return tanh_of(self.input(codes, x))


class LeakyReluInt16(PointwiseInt16):
    kind = "leaky_relu_int16"
    int16 = ("LEAKY_RELU",)
    note = "slopes from 0"

    def multipliers(
        self, x: Quantization, y: Quantization, alpha: float
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """(multiplier, shift) from 0 on, and below."""
        ratio = x.scale0 / y.scale0
        return quantize_multiplier(ratio), quantize_multiplier(x.scale0 * alpha / y.scale0)

    def function(self, codes: Array, x: Quantization, y: Quantization, alpha: float) -> Array:
        above, below = (
            multiply_by_quantized_multiplier(codes, np.array(m), np.array(s))
            for m, s in self.multipliers(x, y, alpha)
        )
        return np.where(codes >= 0, above, below)

    def struct(self, x: Quantization, y: Quantization, alpha: float, size: int) -> Struct:
        above, below = self.multipliers(x, y, alpha)
        fields: dict[str, Field] = {
            "size": size,
            "multiplier": above[0],
            "alpha_multiplier": below[0],
            "shift": above[1],
            "alpha_shift": below[1],
        }
        return Struct("tk_leaky_relu16", fields)

    def check(self, node: TfliteNode, x: Quantization, y: Quantization) -> None:
        alpha = float(node.options.get("Alpha", 0.0))
        node.expect(
            math.isfinite(alpha) and alpha >= 0, f"alpha is {alpha:g}; supported are slopes from 0"
        )


OPERATORS = (LogisticInt16(), TanhInt16(), LeakyReluInt16())
