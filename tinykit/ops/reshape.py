"""RESHAPE, SQUEEZE, EXPAND_DIMS: the same bytes under another shape, so no code at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Cost, Operator
from tinykit.ops.evaluate import Run

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


@dataclass(frozen=True)
class ReshapeAttributes(Attributes):
    shape: tuple[int, ...] = ()


class Reshape(Operator[ReshapeAttributes]):
    kind = "reshape"
    tflite = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
    note = "costs nothing: the bytes stay where they are"
    in_place = 0
    alias = True

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        shape, x = self.attributes(op).shape, graph[op.inputs[0]]
        if math.prod(shape) != x.size:
            raise ModelError(
                f"layer {op.name}: {list(x.shape)} cannot be reshaped to {list(shape)}"
            )
        return (shape,)

    def channel_flow(self, graph: Graph, op: Op) -> Literal["fixed", "through", "mixes"]:
        same = graph[op.inputs[0]].shape[-1] == self.attributes(op).shape[-1]
        return "through" if same else "fixed"

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        return (run[op.inputs[0]].reshape(self.attributes(op).shape),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        return Cost()

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        return ()

    def gradient(self, op: Op, tape: Tape) -> None:
        shape = tape.graph[op.inputs[0]].shape
        gradient = tape.gradient_of(op.outputs[0])
        tape.contribute(
            op.inputs[0], tape.emit("reshape", op, (gradient,), shape, ReshapeAttributes(shape))
        )

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        # The output's declared shape already says what options or the second input would.
        x, y = node.input(0, ("int8", "uint8")), node.output(("int8", "uint8"))
        node.expect(x.dtype == y.dtype, f"makes {y.dtype} from {x.dtype}")
        node.expect_same_quantization(x, y)
        return (node.op(self.kind, (x.name,), ReshapeAttributes(y.shape)),)


OPERATOR = Reshape()
