"""QUANTIZE between integers: int8 to int8 with another scale, uint8 or int16 to int8 and back.

QUANTIZE from float32 at the model's input and DEQUANTIZE at its output are dropped on import:
the application exchanges int8 codes, with the scale in the generated header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ir.tensor import DType
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import (
    code_range,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)
from tinykit.ops.rescale_gradient import rescale_gradient
from tinykit.ops.rows import Reach, Row, RowForm, has_rows

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

SUFFIXES = {"int8": "s8", "uint8": "u8", "int16": "s16"}


@dataclass(frozen=True)
class QuantizeAttributes(Attributes):
    pass


def multiplier(graph: Graph, op: Op) -> tuple[int, int]:
    """(multiplier, shift): the ratio of the scales in double."""
    x, y = graph[op.inputs[0]].quant, graph[op.outputs[0]].quant
    return quantize_multiplier(x.scale0 / y.scale0)


def requantize_call(graph: Graph, op: Op, ratio: tuple[int, int], limits: tuple[int, int]) -> Call:
    """Rescale codes one by one, then clamp to `limits`."""
    x, y = graph[op.inputs[0]], graph[op.outputs[0]]
    struct = Struct(
        "tk_rescale",
        {
            "size": x.size,
            "multiplier": ratio[0],
            "shift": ratio[1],
            "input_zero_point": x.quant.zero_point0,
            "output_zero_point": y.quant.zero_point0,
            "activation_min": limits[0],
            "activation_max": limits[1],
        },
    )
    function = f"tk_requantize_{SUFFIXES[x.dtype]}"
    if y.dtype != x.dtype:
        function += f"_{SUFFIXES[y.dtype]}"
    return Call(function, struct, (x.name, y.name))


def requantize_rows(graph: Graph, call: Call) -> RowForm | None:
    """The row form of such a call: the same on fewer codes."""
    x, y = (graph[str(name)] for name in call.arguments)
    if not has_rows(x, y) or call.descriptor is None:
        return None
    struct = Struct(call.descriptor.ctype, {**call.descriptor.fields, "size": x.size // x.shape[1]})
    return RowForm(
        y.shape[1], {x.name: Reach()}, Call(call.function, struct, (Row(x.name), Row(y.name)))
    )


class Quantize(Operator[QuantizeAttributes]):
    kind = "quantize"
    tflite = ("QUANTIZE",)
    int16 = tflite
    note = "uint8 to int8 and back, int16 to int8 and back; float32 at the edges is dropped"
    in_place = 0
    flow = "through"
    pointwise = True

    def overwrites(self, graph: Graph, op: Op) -> int | None:
        return 0 if graph[op.inputs[0]].bytes == graph[op.outputs[0]].bytes else None

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        x, y = run.graph[op.inputs[0]], run.graph[op.outputs[0]]
        value, shift = multiplier(run.graph, op)
        codes = run[x.name].astype(np.int64) - x.quant.zero_point0
        out = multiply_by_quantized_multiplier(codes, np.array(value), np.array(shift))
        out = np.clip(out + y.quant.zero_point0, *code_range(y.dtype))
        return (out.astype(np.dtype(y.dtype)),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        limits = code_range(graph[op.outputs[0]].dtype)
        return (requantize_call(graph, op, multiplier(graph, op), limits),)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        return requantize_rows(graph, self.lower(graph, op)[0])

    def gradient(self, op: Op, tape: Tape) -> None:
        tape.contribute(op.inputs[0], rescale_gradient(op, tape))  # the same real values

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 2))
        types: tuple[DType, ...] = ("int8", "uint8", "int16")
        x, y = node.input(0, types), node.output(types)
        pair = {x.dtype, y.dtype}
        node.expect("int8" in pair or pair == {"int16"}, f"makes {y.dtype} from {x.dtype}")
        return (node.op(self.kind, (x.name,), QuantizeAttributes()),)


OPERATOR = Quantize()
