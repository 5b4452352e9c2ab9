"""RELU and RELU6 as operators of their own: rescale int8 codes, then clamp.

TFLM's RELU6 clamps without rescaling, so the two agree only where input and output have one
quantization, as they must there; where they differ the golden is TFLite's reference kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator
from tinykit.ops.convolution_gradient import activation_gradient
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import activation_range, quantize_multiplier, requantize
from tinykit.ops.quantize import requantize_call, requantize_rows
from tinykit.ops.rows import RowForm

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


def multiplier(graph: Graph, op: Op) -> tuple[int, int]:
    """(multiplier, shift): the ratio of the scales, in float64 (TFLM's CalculateReluOpData), but of
    RELU6 in float32 (TFLite's ReluPrepare)."""
    x, y = graph[op.inputs[0]].quant, graph[op.outputs[0]].quant
    single = float(np.float32(x.scale0) / np.float32(y.scale0))
    return quantize_multiplier(single if op.kind == "relu6" else x.scale0 / y.scale0)


@dataclass(frozen=True)
class ReluAttributes(Attributes):
    pass


class Relu(Operator[ReluAttributes]):
    kind = "relu"
    tflite = ("RELU",)
    int16: ClassVar[tuple[str, ...]] = ("RELU",)
    note = "free where it can be fused into the layer before"
    in_place = 0
    flow = "through"
    pointwise = True
    activation: ClassVar[str] = "relu"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        x, y = run.graph[op.inputs[0]], run.graph[op.outputs[0]]
        value, shift = multiplier(run.graph, op)
        low, high = activation_range(self.activation, y.quant, y.dtype)
        codes = run[x.name].astype(np.int64) - x.quant.zero_point0
        return (
            requantize(
                codes, np.array(value), np.array(shift), y.quant.zero_point0, low, high, y.dtype
            ),
        )

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        y = graph[op.outputs[0]]
        limits = activation_range(self.activation, y.quant, y.dtype)
        return (requantize_call(graph, op, multiplier(graph, op), limits),)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        return requantize_rows(graph, self.lower(graph, op)[0])

    def gradient(self, op: Op, tape: Tape) -> None:
        tape.contribute(op.inputs[0], activation_gradient(op, tape, self.activation))

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 2))
        x, _ = node.input(), node.output()
        return (node.op(self.kind, (x.name,), ReluAttributes()),)


class Relu6(Relu):
    kind = "relu6"
    tflite = ("RELU6",)
    int16 = ("RELU6",)
    activation = "relu6"


OPERATORS = (Relu(), Relu6())
