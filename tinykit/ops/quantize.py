"""QUANTIZE between integers: int8 to int8 with another scale, uint8 to int8 and back.

QUANTIZE from float32 at the model's input and DEQUANTIZE at its output are dropped on import:
the application exchanges int8 codes, with the scale in the generated header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from tinykit.ops.rescale_gradient import rescale_gradient

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


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
    suffix = {"int8": "s8", "uint8": "u8"}
    function = f"tk_requantize_{suffix[x.dtype]}"
    if y.dtype != x.dtype:
        function += f"_{suffix[y.dtype]}"
    return Call(function, struct, (x.name, y.name))


class Quantize(Operator[QuantizeAttributes]):
    kind = "quantize"
    tflite = ("QUANTIZE",)
    note = "int8 to int8, uint8 to int8 and back; float32 at the edges is dropped"
    in_place = 0
    flow = "through"
    pointwise = True

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        x, y = run.graph[op.inputs[0]], run.graph[op.outputs[0]]
        value, shift = multiplier(run.graph, op)
        codes = run[x.name].astype(np.int64) - x.quant.zero_point0
        out = multiply_by_quantized_multiplier(codes, np.array(value), np.array(shift))
        out = np.clip(out + y.quant.zero_point0, *RANGES[y.dtype])
        return (out.astype(np.dtype(y.dtype)),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        limits = RANGES[graph[op.outputs[0]].dtype]
        return (requantize_call(graph, op, multiplier(graph, op), limits),)

    def gradient(self, op: Op, tape: Tape) -> None:
        tape.contribute(op.inputs[0], rescale_gradient(op, tape))  # the same real values

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 2))
        x, y = node.input(0, ("int8", "uint8")), node.output(("int8", "uint8"))
        node.expect("int8" in (x.dtype, y.dtype), "makes uint8 from uint8")
        return (node.op(self.kind, (x.name,), QuantizeAttributes()),)


OPERATOR = Quantize()
