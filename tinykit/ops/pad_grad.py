"""Gradient of PAD: the inner part.  Input: gradient int16 of the padded tensor, NHWC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run


@dataclass(frozen=True)
class PadGradAttributes(Attributes):
    """Elements cut off before and after each of four axes."""

    before: tuple[int, int, int, int]
    after: tuple[int, int, int, int]


class PadGrad(Operator[PadGradAttributes]):
    kind = "pad_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        attributes = self.attributes(op)
        shape = graph[op.inputs[0]].shape
        return (
            tuple(
                n - b - a
                for n, b, a in zip(shape, attributes.before, attributes.after, strict=True)
            ),
        )

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        gradient = run[op.inputs[0]]
        before = self.attributes(op).before
        shape = run.graph[op.outputs[0]].shape
        cut = tuple(slice(b, b + n) for b, n in zip(before, shape, strict=True))
        return (np.ascontiguousarray(gradient[cut]),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        full, inner = graph[op.inputs[0]].shape, graph[op.outputs[0]].shape
        before = self.attributes(op).before
        names = ("batch", "height", "width", "channels")
        fields = {f"input_{n}": full[i] for i, n in enumerate(names) if i > 0}
        fields |= {f"output_{n}": inner[i] for i, n in enumerate(names)}
        fields |= {f"before_{n}": before[i] for i, n in enumerate(names)}
        struct = Struct("tk_pad_grad", dict(fields))
        return (Call("tk_pad_grad_s16", struct, (op.inputs[0], op.outputs[0])),)


OPERATOR = PadGrad()
