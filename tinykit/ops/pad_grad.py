"""Gradient of PAD: the inner part.  Input: gradient int16 of the padded tensor, up to 4-D."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run


@dataclass(frozen=True)
class PadGradAttributes(Attributes):
    """paddings: (before, after) of each axis."""

    paddings: tuple[tuple[int, int], ...]


class PadGrad(Operator[PadGradAttributes]):
    kind = "pad_grad"
    moves = True

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        pairs = zip(graph[op.inputs[0]].shape, self.attributes(op).paddings, strict=True)
        return (tuple(n - before - after for n, (before, after) in pairs),)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        shape = run.graph[op.outputs[0]].shape
        pairs = zip(self.attributes(op).paddings, shape, strict=True)
        cut = tuple(slice(before, before + n) for (before, _), n in pairs)
        return (np.ascontiguousarray(run[op.inputs[0]][cut]),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        height, width, channels = (1, 1, 1, *graph[op.inputs[0]].shape)[-3:]
        rows, columns, depth = (((0, 0),) * 3 + self.attributes(op).paddings)[-3:]
        struct = Struct(
            "tk_pad_grad",
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
            },
        )
        return (Call("tk_pad_grad_s16", struct, (op.inputs[0], op.outputs[0])),)


OPERATOR = PadGrad()
