"""L2_NORMALIZATION: int8 to int8, divided by the length of the last axis; embeddings end in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import multiply_by_quantized_multiplier
from tinykit.ops.gemmlowp import inverse_square_root

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode

OUTPUT = (1 / 128, 0)  # scale, zero point
OUTPUT_BITS = 7
MAX_DEPTH = (2**31 - 1) // 255**2  # values whose squares sum to 32 bits


class L2Normalization(Operator[Attributes]):
    kind = "l2_normalization"
    tflite: ClassVar[tuple[str, ...]] = ("L2_NORMALIZATION",)
    note = "int8 to int8 (scale 1/128, zero point 0), over the last axis; no gradient yet"
    in_place = 0

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        """Follows TFLM's reference_integer_ops::L2Normalization."""
        x = run[op.inputs[0]].astype(np.int64) - run.graph[op.inputs[0]].quant.zero_point0
        rows = x.reshape(-1, x.shape[-1])
        scaled = []
        for row in rows:
            multiplier, shift = inverse_square_root(int((row * row).sum()))
            scaled.append(
                multiply_by_quantized_multiplier(
                    row, np.array(multiplier), np.array(OUTPUT_BITS - shift)
                )
            )
        return (np.array(scaled).clip(-128, 127).astype(np.int8).reshape(x.shape),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        struct = Struct(
            "tk_l2_normalization",
            {
                "rows": x.size // x.shape[-1],
                "depth": x.shape[-1],
                "zero_point": x.quant.zero_point0,
            },
        )
        return (Call("tk_l2_normalization_s8", struct, (x.name, y.name)),)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 2))
        x, y = node.input(), node.output()
        node.expect(
            (y.quant.scale0, y.quant.zero_point0) == OUTPUT,
            f"output quantized {y.quant.scale0:g}/{y.quant.zero_point0}; supported is 1/128/0",
        )
        node.expect(node.activation == "none", "a fused activation is not supported")
        node.expect(x.shape[-1] <= MAX_DEPTH, f"{x.shape[-1]} values; at most {MAX_DEPTH}")
        return (node.op(self.kind, (x.name,)),)


OPERATOR = L2Normalization()
