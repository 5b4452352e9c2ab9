"""RESHAPE, SQUEEZE, EXPAND_DIMS: the same bytes under another shape, so no code at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ir.tensor import DType
from tinykit.ops.base import Call, Cost, Operator
from tinykit.ops.evaluate import Run

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


@dataclass(frozen=True)
class ReshapeAttributes(Attributes):
    shape: tuple[int, ...] = ()


def target_shape(node: TfliteNode, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What the operator makes of `shape`; the declared shape where it does not say so itself."""
    declared = node.files[node.outputs[0]].shape
    if node.builtin == "EXPAND_DIMS" and node.has(1):
        axis = int(node.constant(1).flat[0])
        return tuple(int(n) for n in np.expand_dims(np.empty(shape, np.void), axis).shape)
    if node.builtin == "SQUEEZE":
        axes = [axis % len(shape) for axis in node.options_list("SqueezeDims")]
        ones = [i for i, n in enumerate(shape) if n == 1]
        kept = tuple(n for i, n in enumerate(shape) if i not in (axes or ones))
        return kept if math.prod(declared) != math.prod(shape) else declared
    target = node.options_list("NewShape")
    if node.builtin == "RESHAPE" and node.has(1):
        target = [int(n) for n in node.constant(1).flat]
    known = math.prod(n for n in target if n != -1)
    if -1 in target and known > 0:
        target[target.index(-1)] = math.prod(shape) // known
    return tuple(target) if math.prod(target) == math.prod(shape) else declared


class Reshape(Operator[ReshapeAttributes]):
    kind = "reshape"
    tflite = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
    int16 = tflite
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

    def monotone(self, graph: Graph, op: Op) -> bool:
        return True

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
        types: tuple[DType, ...] = ("int8", "uint8", "int16")
        x = node.input(0, types)
        node.shape_output(target_shape(node, x.shape))
        y = node.output(types)
        node.expect(x.dtype == y.dtype, f"makes {y.dtype} from {x.dtype}")
        node.expect_same_quantization(x, y)
        return (node.op(self.kind, (x.name,), ReshapeAttributes(y.shape)),)


OPERATOR = Reshape()
