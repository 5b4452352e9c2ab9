"""READ_VARIABLE and ASSIGN_VARIABLE: the model's state, kept from one run to the next.

It is int8 or int16, as activations are; the cell state of an LSTM, which comes here from its
importer, is int16 always.

read_variable copies a state tensor into the arena; assign_variable copies its first input into
the second, a state tensor, after everybody has read the old value.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tinykit.ir import Array, Attributes, Graph, Op, Tensor
from tinykit.ops.base import Call, Operator
from tinykit.ops.evaluate import Run
from tinykit.ops.strided_copy import Axis, copy_call

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode


def _variable(node: TfliteNode) -> Tensor:
    """The state tensor that the operator's handle stands for."""
    name = node.inputs[0]
    node.expect(
        node.files[name].data is not None,
        f"variable {name} has no initial value",
        "supported are variables that CALL_ONCE sets to constants",
    )
    return node.tensors[node.add(replace(node.input(0), storage="state"))]


class ReadVariable(Operator[Attributes]):
    kind = "read_variable"
    tflite = ("READ_VARIABLE",)
    int16 = tflite
    note = "state with constant initial values; read before it is assigned"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        return (run[op.inputs[0]].copy(),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        return (copy_call(x, y, [Axis(x.size, 1, 1)]),)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 2))
        state = _variable(node)
        node.shape_output(state.shape)
        node.expect_same_quantization(state, node.output())
        return (node.op(self.kind, (state.name,)),)


class AssignVariable(Operator[Attributes]):
    kind = "assign_variable"
    tflite = ("ASSIGN_VARIABLE",)
    int16 = tflite
    note = "state, once in a run, a value of the variable's shape and quantization"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return ()

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        return (run[op.inputs[0]].reshape(run.graph[op.inputs[1]].shape),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        value, state = (graph[name] for name in op.inputs)
        return (copy_call(value, state, [Axis(value.size, 1, 1)]),)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(2, 3), 0)
        state, value = _variable(node), node.input(1)
        node.expect_same_quantization(value, state)
        node.expect(
            value.shape == state.shape,
            f"assigns {list(value.shape)} to a variable of {list(state.shape)}",
        )
        names = (value.name, state.name)
        return (Op(self.kind, node.name, names, (), updates=names[1:], layer=node.name),)


OPERATORS = (ReadVariable(), AssignVariable())
