"""UNIDIRECTIONAL_SEQUENCE_LSTM: int8, with gates of 16 bits, as TensorFlow Lite Micro computes it.

Inputs: x [1, T, C] or [T, 1, C]; hidden int8 and cell int16, the states before, of U elements;
four weights [U, C] and four recurrent weights [U, U] (input, forget, cell, output gate); four
biases [U].  Outputs: y [.., .., U], whose last row is the hidden state after; the cell state after.

The states are variables: on import a read_variable goes in front of each, an assign_variable
behind.  So the operator itself keeps nothing, and the states before are there for the gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Address, Call, Cost, Operator, Struct, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import (
    exact,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)
from tinykit.ops.slice import box

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

F = np.float32
Names = tuple[str, ...]  # of an LSTM's inputs
GATES = ("input", "forget", "cell", "output")
HIDDEN, CELL, WEIGHTS, RECURRENT, BIASES = 1, 2, 3, 7, 11  # places among the inputs
GATE_SCALE = 2.0**-12  # of what goes into a gate; what comes out is in Q0.15
ONE = 2.0**-15
# sigmoid(i / 24) in Q0.16, rounded; TFLite's table has one more at some places of its bent part.
RAISED = (4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40,
          41, 43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135,
          255)  # fmt: skip
SIGMOID = np.rint(65536 / (1 + np.exp(-np.arange(256) / 24))).astype(np.int64)
SIGMOID[list(RAISED)] += 1
LARGEST_TANH_SHIFT = 14  # 3 << 14 times an int16 fits into an int32
EXTRAS = {"a peephole": (9, 10, 11), "a projection": (16, 17),
          "layer normalization": (20, 21, 22, 23)}  # fmt: skip
TANH = 4  # the schema's ActivationFunctionType


@dataclass(frozen=True)
class LstmAttributes(Attributes):
    """cell_clip: the cell state's limit in real units, 0 for none."""

    cell_clip: float = 0.0

    def clip(self, scale: float) -> int:
        """In steps of the cell state, truncated."""
        return int(min(float(F(self.cell_clip)) / scale, 32767.0))


@dataclass(frozen=True)
class LstmGradAttributes(Attributes):
    """forward: the LSTM's; shape: of the gradient that the op makes."""

    forward: LstmAttributes
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Steps:
    """What a run over all steps makes: gates int64 [4, T, U], cells [T, U], outputs [T, U]."""

    gates: Array
    cells: Array
    outputs: Array


def sigmoid_of(x: Array) -> Array:
    """Sigmoid in Q0.15 of int64 x / 12288, by interpolation in a table."""
    size = np.abs(x)
    place = np.minimum(size >> 9, 254)
    low, high = SIGMOID[place], SIGMOID[place + 1]
    result = np.where(size >> 9 >= 255, 0x7FFF << 10, (low << 9) + (size & 511) * (high - low))
    return np.where(x >= 0, result + 512, (1 << 25) - result + 511) >> 10


def tanh_of(x: Array) -> Array:
    """tanh in Q0.15 of int64 x / 12288."""
    size = np.abs(x)
    place = np.minimum(size >> 8, 254)
    low, high = SIGMOID[place], SIGMOID[place + 1]
    result = np.where(size >> 8 >= 255, 0xFFFF << 8, (low << 8) + (size & 255) * (high - low))
    result = result - (1 << 23)
    return np.where(x >= 0, result + 128, -result + 127) >> 8


def sigmoid16(x: Array) -> Array:
    """Sigmoid from Q3.12 to Q0.15."""
    return sigmoid_of(x.astype(np.int64) * 3)


def tanh16(x: Array, shift: int) -> Array:
    """tanh to Q0.15, of values with scale 2**(shift - 12)."""
    x = x.astype(np.int64) * 3
    return tanh_of(x << shift if shift >= 0 else (x + (1 << (-shift - 1))) >> -shift)


def int16(x: Array) -> Array:
    return np.clip(x, -32768, 32767)


def _scaled(x: Array, ratio: tuple[int, int]) -> Array:
    return multiply_by_quantized_multiplier(x, np.array(ratio[0]), np.array(ratio[1]))


def tanh_shift(graph: Graph, names: Names) -> int:
    return graph[names[CELL]].quant.exponent + 12


def products(
    graph: Graph, names: Names
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """(multiplier, shift) of forget gate * cell, input gate * new value, output gate * tanh."""
    cell, hidden = (graph[names[i]].quant.scale0 for i in (CELL, HIDDEN))
    factors = (ONE, ONE * ONE / cell, ONE * ONE / hidden)
    forget, update, output = (quantize_multiplier(factor) for factor in factors)
    return forget, update, output


def gate_multipliers(
    graph: Graph, names: Names, gate: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(multiplier, shift) of the input's sums and of the hidden state's."""
    pairs = ((0, WEIGHTS), (HIDDEN, RECURRENT))
    scales = [
        F(graph[names[a]].quant.scale0) * F(graph[names[b + gate]].quant.scale0) for a, b in pairs
    ]
    first, second = (quantize_multiplier(float(scale) / GATE_SCALE) for scale in scales)
    return first, second


def forward(
    names: Names, run: Run, attributes: LstmAttributes, outputs: Array | None = None
) -> Steps:
    """All steps, from the values of the LSTM's inputs.

    outputs: what they made, [T, U], where it is known; then it is the hidden state in between.
    """
    graph = run.graph
    units, channels = graph[names[WEIGHTS]].shape
    hidden_zero = graph[names[HIDDEN]].quant.zero_point0
    x = run[names[0]].astype(np.int64).reshape(-1, channels)
    x = exact(x - graph[names[0]].quant.zero_point0)
    hidden, cell = (run[names[i]].reshape(units).astype(np.int64) for i in (HIDDEN, CELL))
    forget, update, output = products(graph, names)
    clip, shift = attributes.clip(graph[names[CELL]].quant.scale0), tanh_shift(graph, names)
    gates, cells, made = (
        np.empty(size, np.int64) for size in ((4, len(x), units), (len(x), units), (len(x), units))
    )
    for t, row in enumerate(x):
        for gate, kind in enumerate(GATES):
            of_input, of_hidden = gate_multipliers(graph, names, gate)
            weights, recurrent, bias = (
                exact(run[names[first + gate]]) for first in (WEIGHTS, RECURRENT, BIASES)
            )
            total = int16(_scaled((weights @ row + bias).astype(np.int64), of_input))
            back = (recurrent @ exact(hidden - hidden_zero)).astype(np.int64)
            total = int16(total + int16(_scaled(back, of_hidden)))
            gates[gate, t] = tanh16(total, 0) if kind == "cell" else sigmoid16(total)
        i, f, g, o = gates[:, t]
        cell = int16(int16(_scaled(f * cell, forget)) + int16(_scaled(i * g, update)))
        cell = np.clip(cell, -clip, clip) if clip else cell
        hidden = np.clip(_scaled(tanh16(cell, shift) * o, output) + hidden_zero, -128, 127)
        cells[t], made[t] = cell, hidden
        if outputs is not None:
            hidden = outputs[t].astype(np.int64)
    return Steps(gates, cells, made)


def lstm_struct(graph: Graph, names: Names, attributes: LstmAttributes) -> Struct:
    """The C descriptor, from the names of the LSTM's inputs."""
    x, hidden, cell = (graph[names[i]] for i in (0, HIDDEN, CELL))
    units, channels = graph[names[WEIGHTS]].shape
    gates = {}
    for gate, kind in enumerate(GATES):
        of_input, of_hidden = gate_multipliers(graph, names, gate)
        gates[kind] = Struct(
            "tk_lstm_gate",
            {
                "weights": Address(names[WEIGHTS + gate]),
                "recurrent": Address(names[RECURRENT + gate]),
                "bias": Address(names[BIASES + gate]),
                "multiplier": of_input[0],
                "recurrent_multiplier": of_hidden[0],
                "shift": of_input[1],
                "recurrent_shift": of_hidden[1],
            },
        )
    forget, update, output = products(graph, names)
    return Struct(
        "tk_lstm",
        {
            **gates,
            "sigmoid": Table("uint16_t", SIGMOID.astype(np.uint16)),
            "steps": x.size // channels,
            "inputs": channels,
            "units": units,
            "input_zero_point": x.quant.zero_point0,
            "hidden_zero_point": hidden.quant.zero_point0,
            "clip": attributes.clip(cell.quant.scale0),
            "forget_multiplier": forget[0],
            "update_multiplier": update[0],
            "hidden_multiplier": output[0],
            "forget_shift": forget[1],
            "update_shift": update[1],
            "hidden_shift": output[1],
            "tanh_shift": tanh_shift(graph, names),
        },
    )


class Lstm(Operator[LstmAttributes]):
    kind = "lstm"
    tflite = ("UNIDIRECTIONAL_SEQUENCE_LSTM",)
    note = (
        "int8 with an int16 cell state, batch 1, either order of the axes; gradients pass through "
        "all steps of a run, its own weights stay as they are; no peepholes, projection or layer "
        "normalization, as in TFLM"
    )

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        units = graph[op.inputs[WEIGHTS]].shape[0]
        return (*graph[op.inputs[0]].shape[:2], units), graph[op.inputs[CELL]].shape

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        steps = forward(op.inputs, run, self.attributes(op))
        y, cell = (run.graph[name].shape for name in op.outputs)
        return (
            steps.outputs.astype(np.int8).reshape(y),
            steps.cells[-1].astype(np.int16).reshape(cell),
        )

    def cost(self, graph: Graph, op: Op) -> Cost:
        units, channels = graph[op.inputs[WEIGHTS]].shape
        size = graph[op.outputs[0]].size
        return Cost(macs=4 * size * (units + channels), elements=10 * size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        struct = lstm_struct(graph, op.inputs, self.attributes(op))
        arguments = (*op.inputs[:WEIGHTS], *op.outputs, "$scratch")
        units = graph[op.inputs[WEIGHTS]].shape[0]
        return (Call("tk_lstm_s8", struct, arguments, 8 * units),)

    def gradient(self, op: Op, tape: Tape) -> None:
        """Through the steps of this run; the states before it are constants."""
        x = op.inputs[0]
        if not tape.wants(x):
            return
        graph, attributes = tape.graph, self.attributes(op)
        units, channels = graph[op.inputs[WEIGHTS]].shape
        shape = (4, graph[x].size // channels, units)
        y = op.outputs[0]
        inputs = (tape.gradient_of(y), y, *op.inputs)
        gates = tape.emit("lstm_grad", op, inputs, shape, LstmGradAttributes(attributes, shape))
        inputs = (gates, *op.inputs[WEIGHTS:RECURRENT])
        of_input = LstmGradAttributes(attributes, graph[x].shape)
        tape.contribute(x, tape.emit("lstm_input_grad", op, inputs, graph[x].shape, of_input))

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 25))
        for what, places in EXTRAS.items():
            present = any(node.has(i) for i in places)
            node.expect(not present, f"{what} is not supported", "TFLM has LSTMs without it")
        activation = node.option("FusedActivationFunction")
        node.expect(activation == TANH, f"activation {activation} is not TANH")
        x, y = node.input(), node.output()
        weights = [node.weights(i, axis=0, rank=2) for i in range(1, 9)]
        units, channels = weights[0].shape
        axis = 0 if node.option("TimeMajor") else 1
        node.expect(
            len(x.shape) == 3 and x.shape[1 - axis] == 1 and x.shape[2] == channels
            and max(*x.shape, units) <= node.LARGEST,
            f"weights {list(weights[0].shape)} over {list(x.shape)}",
            "supported is one sequence at a time, [1, T, C] or, time major, [T, 1, C]",
        )  # fmt: skip
        hidden, cell = node.variable(18, "int8", units), node.variable(19, "int16", units)
        for i, tensor in enumerate(weights):
            expected = (units, units if i > 3 else channels)
            node.expect(
                tensor.shape == expected and not tensor.quant.per_channel,
                f"weights {tensor.name}{list(tensor.shape)} must be {list(expected)}, of one scale",
            )
            node.check_accumulators(hidden if i > 3 else x, tensor, channel_axis=0)
        biases = [node.bias(i, units) for i in range(12, 16)]
        node.expect(all(biases), "a bias is missing")
        node.shape_output((*x.shape[:2], units))
        node.expect_same_quantization(node.output(), hidden)
        self._check_cell(node, cell.quant.scale0, cell.quant.zero_point0)
        clip = float(node.options.get("CellClip", 0.0))
        node.expect(0 <= clip < math.inf, f"cell clip {clip:g} is out of range")
        before = [node.add(replace(state, name=f"{y.name}/{what}", storage="arena", data=None))
                  for state, what in ((hidden, "hidden"), (cell, "cell"))]  # fmt: skip
        after = node.add(replace(cell, name=f"{y.name}/cell_after", storage="arena", data=None))
        last = node.add(replace(hidden, name=f"{y.name}/last", shape=(1, 1, units),
                                storage="arena", data=None))  # fmt: skip
        names = tuple(tensor.name for tensor in weights)
        steps = x.shape[axis]
        rows = box((*x.shape[:2], units), axis, steps - 1, 1)

        def op(kind: str, part: str, inputs: tuple[str, ...], outputs: tuple[str, ...] = (),
               attributes: Attributes | None = None) -> Op:  # fmt: skip
            updates = () if outputs else inputs[1:]
            return Op(kind, f"{node.name}{part}", inputs, outputs, attributes or Attributes(),
                      updates, layer=node.name)  # fmt: skip

        return (
            op("read_variable", "/read_hidden", (hidden.name,), (before[0],)),
            op("read_variable", "/read_cell", (cell.name,), (before[1],)),
            op(self.kind, "", (x.name, *before, *names, *biases), (y.name, after),
               LstmAttributes(clip)),
            op("slice", "/last", (y.name,), (last,), rows),
            op("assign_variable", "/hidden", (last, hidden.name)),
            op("assign_variable", "/cell", (after, cell.name)),
        )  # fmt: skip

    def _check_cell(self, node: TfliteNode, scale: float, zero_point: int) -> None:
        mantissa, exponent = math.frexp(scale)
        node.expect(
            mantissa == 0.5 and zero_point == 0 and -15 <= exponent + 11 <= LARGEST_TANH_SHIFT,
            f"cell state quantized {scale:g}/{zero_point}",
            "supported are powers of two from 2^-27 to 4, and zero point 0",
        )


OPERATOR = Lstm()
