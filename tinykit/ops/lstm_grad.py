"""Gradient of an LSTM through the steps of one run, back to its input.

lstm_grad.  Inputs: gradient int16 of the LSTM's output, that output, the LSTM's inputs.  Output:
int16 [4, T, U], the gradient of what goes into the gates.  The gates are computed anew; backward,
values are int32 with BITS bits more than the result, saturating.  Where an output or a cell state
lies at an end of its range, nothing passes.

lstm_input_grad.  Inputs: that gradient, the four weights of the LSTM's input.  Output: int16 of
that input.  Weight scales are m / 2^15 * 2^e, with one e for all gates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Address, Call, Cost, Operator, Struct, Table
from tinykit.ops.batch_matmul_grad import SCALE_BITS
from tinykit.ops.evaluate import Run, Step
from tinykit.ops.gradient_arithmetic import gradient_shift, shift_round, to_gradient
from tinykit.ops.lstm import (
    BIASES,
    CELL,
    GATES,
    RECURRENT,
    WEIGHTS,
    LstmGradAttributes,
    forward,
    lstm_struct,
    tanh16,
    tanh_shift,
)

BITS = 8
LIMIT = 2**30  # of the values inside
UNIT = 2**15


def gate_scales(graph: Graph, names: Sequence[str]) -> tuple[Array, int]:
    """(m of each gate, e): scale = m * 2^(e - SCALE_BITS), the largest m of 15 bits."""
    scales = [graph[name].quant.scale0 for name in names]
    exponent = math.frexp(max(scales))[1]
    parts = [min(round(math.ldexp(s, SCALE_BITS - exponent)), UNIT - 1) for s in scales]
    return np.array(parts, np.int64), exponent


def _saturated(x: Array, step: Step) -> Array:
    clamped = np.clip(x, -LIMIT, LIMIT)
    step.saturations += int(np.count_nonzero(clamped != x))
    return clamped


class LstmGrad(Operator[LstmGradAttributes]):
    kind = "lstm_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (self.attributes(op).shape,)

    def names(self, op: Op) -> tuple[str, ...]:
        """The LSTM's inputs."""
        return op.inputs[2:]

    def _shifts(self, graph: Graph, op: Op) -> tuple[int, int]:
        """Right shifts of the incoming gradient and of the sums over recurrent weights."""
        incoming, result = graph[op.inputs[0]].quant.exponent, graph[op.outputs[0]].quant.exponent
        _, exponent = gate_scales(graph, self.names(op)[RECURRENT:BIASES])
        return (
            gradient_shift(op.name, result - BITS, incoming),
            gradient_shift(op.name, 0, exponent - SCALE_BITS + BITS),
        )

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        graph, attributes, names = run.graph, self.attributes(op), self.names(op)
        y = run[op.inputs[1]].reshape(attributes.shape[1:])
        steps = forward(names, run, attributes.forward, y)
        cell = graph[names[CELL]].quant
        clip = attributes.forward.clip(cell.scale0)
        low, high = (-clip, clip) if clip else (-32768, 32767)
        open_cells = (steps.cells > low) & (steps.cells < high)
        open_outputs = (y > -128) & (y < 127)
        before = np.concatenate([run[names[CELL]].reshape(1, -1), steps.cells[:-1]])
        tanh = tanh16(steps.cells, tanh_shift(graph, names))
        recurrent = [run[name].astype(np.int64) for name in self.names(op)[RECURRENT:BIASES]]
        incoming = run[op.inputs[0]].reshape(steps.cells.shape)
        arithmetic: _Real | _Integer
        if run.real:
            scales = [graph[name].quant.scale0 for name in self.names(op)[RECURRENT:BIASES]]
            arithmetic = _Real(np.array(scales), cell.scale0)
        else:
            multipliers, _ = gate_scales(graph, self.names(op)[RECURRENT:BIASES])
            arithmetic = _Integer(multipliers, self._shifts(graph, op), cell.exponent, run.step)
        result = np.zeros(attributes.shape, np.float64 if run.real else np.int16)
        into_cell = np.zeros(y.shape[1], np.float64 if run.real else np.int64)
        for t in reversed(range(len(y))):
            later = None if t + 1 == len(y) else result[:, t + 1]
            out = arithmetic.output(incoming[t], recurrent, later)
            out = np.where(open_outputs[t], out, 0)
            into_cell, result[:, t] = arithmetic.step(
                out, into_cell, steps.gates[:, t], tanh[t], before[t], open_cells[t]
            )
        return (result,)

    def cost(self, graph: Graph, op: Op) -> Cost:
        units, channels = graph[self.names(op)[WEIGHTS]].shape
        size = graph[op.inputs[1]].size
        return Cost(macs=4 * size * (2 * units + channels), elements=30 * size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, hidden, cell = self.names(op)[:WEIGHTS]
        gradient, y = op.inputs[:2]
        shifts = self._shifts(graph, op)
        multipliers, _ = gate_scales(graph, self.names(op)[RECURRENT:BIASES])
        struct = Struct(
            "tk_lstm_grad",
            {
                "forward": lstm_struct(graph, self.names(op), self.attributes(op).forward),
                "scale": Table("int16_t", multipliers.astype(np.int16)),
                "gradient_shift": shifts[0],
                "recurrent_shift": shifts[1],
                "cell_shift": -graph[cell].quant.exponent,
            },
        )
        _, steps, units = self.attributes(op).shape
        arguments = (gradient, x, y, hidden, cell, op.outputs[0], "$scratch", "$trainer")
        return (Call("tk_lstm_grad_s16", struct, arguments, (10 * steps + 8) * units),)


class _Real:
    """Gradients as float64, in real units."""

    def __init__(self, scales: Array, cell_scale: float) -> None:
        self.scales, self.cell_scale = scales, cell_scale

    def output(self, incoming: Array, recurrent: list[Array], later: Array | None) -> Array:
        """The gradient of one step's output, from behind and from the next step's gates."""
        if later is None:
            return incoming
        terms = (
            s * (g @ w) for g, w, s in zip(later, recurrent, self.scales.tolist(), strict=True)
        )
        return np.asarray(incoming + sum(terms))

    def step(
        self, out: Array, into_cell: Array, gates: Array, tanh: Array, before: Array, passes: Array
    ) -> tuple[Array, Array]:
        """(gradient of the cell state before, of what went into the gates [4, U])"""
        i, f, g, o = gates / UNIT
        th = tanh / UNIT
        cell = np.where(passes, into_cell + out * o * (1 - th * th), 0)
        c = before * self.cell_scale
        into_gates = (
            cell * g * i * (1 - i), cell * c * f * (1 - f), cell * i * (1 - g * g),
            out * th * o * (1 - o),
        )  # fmt: skip
        return cell * f, np.stack(into_gates)


class _Integer:
    """The same in the device's integers."""

    def __init__(
        self, multipliers: Array, shifts: tuple[int, int], cell_exponent: int, count: Step
    ) -> None:
        self.multipliers, self.count = multipliers, count
        self.incoming_shift, self.recurrent_shift = shifts
        self.cell_shift = -cell_exponent

    def output(self, incoming: Array, recurrent: list[Array], later: Array | None) -> Array:
        out = shift_round(incoming, self.incoming_shift)
        if later is not None:
            sums = [
                m * (g.astype(np.int64) @ w)
                for g, w, m in zip(later, recurrent, self.multipliers.tolist(), strict=True)
            ]
            out = out + shift_round(np.sum(sums, axis=0), self.recurrent_shift)
        return _saturated(out, self.count)

    def step(
        self, out: Array, into_cell: Array, gates: Array, tanh: Array, before: Array, passes: Array
    ) -> tuple[Array, Array]:
        i, f, g, o = gates
        slope = UNIT - times(tanh, tanh)
        cell = _saturated(into_cell + times(times(out, o), slope), self.count)
        cell = np.where(passes, cell, 0)
        scaled = shift_round(cell * before, self.cell_shift)
        into_gates = np.stack([
            times(times(cell, g), times(i, UNIT - i)),
            times(_saturated(scaled, self.count), times(f, UNIT - f)),
            times(times(cell, i), UNIT - times(g, g)),
            times(times(out, tanh), times(o, UNIT - o)),
        ])  # fmt: skip
        return times(cell, f), to_gradient(into_gates, BITS, self.count)


def times(a: Array, b: Array) -> Array:
    """a * b, b in Q0.15, rounded."""
    return np.asarray((a * b + (UNIT >> 1)) >> 15)


class LstmInputGrad(Operator[LstmGradAttributes]):
    kind = "lstm_input_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (self.attributes(op).shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        names, shape = op.inputs[1:], self.attributes(op).shape
        weights = [run[name].astype(np.int64) for name in names]
        gradient = run[op.inputs[0]]
        if run.real:
            scales = [run.graph[name].quant.scale0 for name in names]
            total = sum(s * (g @ w) for g, w, s in zip(gradient, weights, scales, strict=True))
            return (np.asarray(total).reshape(shape),)
        multipliers, _ = gate_scales(run.graph, names)
        sums = [
            m * (g.astype(np.int64) @ w)
            for g, w, m in zip(gradient, weights, multipliers.tolist(), strict=True)
        ]
        shift = self._shift(run.graph, op)
        return (to_gradient(np.sum(sums, axis=0), shift, run.step).reshape(shape),)

    def _shift(self, graph: Graph, op: Op) -> int:
        _, exponent = gate_scales(graph, op.inputs[1:])
        exponent += graph[op.inputs[0]].quant.exponent - SCALE_BITS
        return gradient_shift(op.name, graph[op.outputs[0]].quant.exponent, exponent)

    def cost(self, graph: Graph, op: Op) -> Cost:
        size = graph[op.outputs[0]].size
        return Cost(macs=4 * size * graph[op.inputs[1]].shape[0], elements=size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        names = op.inputs[1:]
        multipliers, _ = gate_scales(graph, names)
        steps = graph[op.inputs[0]].shape[1]
        units, channels = graph[names[0]].shape
        struct = Struct(
            "tk_lstm_input_grad",
            {
                **{gate: Address(n) for gate, n in zip(GATES, names, strict=True)},
                "scale": Table("int16_t", multipliers.astype(np.int16)),
                "steps": steps,
                "inputs": channels,
                "units": units,
                "shift": self._shift(graph, op),
            },
        )
        arguments = (op.inputs[0], op.outputs[0], "$trainer")
        return (Call("tk_lstm_input_grad_s16", struct, arguments),)


OPERATORS = (LstmGrad(), LstmInputGrad())
