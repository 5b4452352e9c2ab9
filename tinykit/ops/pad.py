"""PAD and PADV2, filled with the zero point (PAD) or a constant (PADV2).

Input: x of up to four dimensions; the first of four is the batch and is not padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.pad_grad import PadGradAttributes
from tinykit.ops.rows import Reach, RowForm, has_rows, row_call
from tinykit.ops.strided_copy import Axis, copy_call, strides

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


@dataclass(frozen=True)
class PadAttributes(Attributes):
    """paddings: (before, after) of each axis; value: the code that fills them."""

    paddings: tuple[tuple[int, int], ...] = ()
    value: int = 0


class Pad(Operator[PadAttributes]):
    kind = "pad"
    tflite = ("PAD", "PADV2")
    int16 = ("PAD", "PADV2")
    note = "up to four dimensions, zeros or a constant; free in front of a convolution"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        shape, paddings = graph[op.inputs[0]].shape, self.attributes(op).paddings
        return (tuple(n + a + b for n, (a, b) in zip(shape, paddings, strict=True)),)

    def channel_flow(self, graph: Graph, op: Op) -> Literal["fixed", "through", "mixes"]:
        return "through" if self.attributes(op).paddings[-1] == (0, 0) else "fixed"

    def monotone(self, graph: Graph, op: Op) -> bool:
        return True

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes = self.attributes(op)
        x = run[op.inputs[0]]
        return (np.pad(x, attributes.paddings, constant_values=x.dtype.type(attributes.value)),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        attributes = self.attributes(op)
        if x.dtype == "int16":
            writes = strides(y.shape)
            axes = map(Axis, x.shape, strides(x.shape), writes)
            before = (pair[0] for pair in attributes.paddings)
            first = sum(n * step for n, step in zip(before, writes, strict=True))
            return (copy_call(x, y, list(axes), (0, first), attributes.value),)
        height, width, channels = (1, 1, 1, *x.shape)[-3:]
        rows, columns, depth = (((0, 0),) * 3 + attributes.paddings)[-3:]
        struct = Struct(
            "tk_pad",
            {
                "height": height,
                "width": width,
                "channels": channels,
                "top": rows[0],
                "bottom": rows[1],
                "left": columns[0],
                "right": columns[1],
                "front": depth[0],
                "back": depth[1],
                "value": attributes.value,
            },
        )
        return (Call("tk_pad_s8", struct, (x.name, y.name)),)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        if not has_rows(x, y) or x.dtype == "int16":
            return None
        reach = Reach(before=self.attributes(op).paddings[1][0])
        return RowForm(y.shape[1], {x.name: reach}, row_call(self.lower(graph, op)[0]))

    def gradient(self, op: Op, tape: Tape) -> None:
        shape = tape.graph[op.inputs[0]].shape
        paddings = self.attributes(op).paddings
        gradient = tape.gradient_of(op.outputs[0])
        tape.contribute(
            op.inputs[0],
            tape.emit("pad_grad", op, (gradient,), shape, PadGradAttributes(paddings)),
        )

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(2, 4))
        x, y = node.input(), node.output()
        node.expect_same_quantization(x, y)
        amounts = node.constant(1)
        rank = len(x.shape)
        node.expect(amounts.shape == (rank, 2), f"paddings have shape {list(amounts.shape)}")
        paddings = tuple((int(before), int(after)) for before, after in amounts)
        node.expect(
            all(0 <= n <= node.LARGEST for pair in paddings for n in pair)
            and max(*x.shape, *y.shape) <= node.LARGEST,
            f"paddings {[list(pair) for pair in paddings]} are out of range",
        )
        node.expect(
            rank <= 4 and (rank < 4 or (x.shape[0] == 1 and paddings[0] == (0, 0))),
            f"padding of {list(x.shape)}; supported are up to four dimensions, the batch unpadded",
        )
        value = y.quant.zero_point0
        if node.has(2):
            filler = node.input(2)
            node.expect_same_quantization(filler, y)
            node.expect(filler.size == 1 and filler.constant, "the fill value must be a constant")
            value = int(filler.value.flat[0])
        return (node.op(self.kind, (x.name,), PadAttributes(paddings, value)),)


OPERATOR = Pad()
