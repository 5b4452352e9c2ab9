"""Logits for the loss: a row of a fully connected layer's outputs in int16.

Steps are 2^-BITS of the int8 output's scale, and there is no zero point: neither is a logit rounded
to int8 nor held at the ends of its range.  Where the int8 ones of two classes both lie at an end,
their difference is lost, the loss stays large whatever is learnt, and weights grow without end.

Inputs: x int8, C values; weights [O, …, K], bias [O] (or absent), rest [O, …, C-K] (or absent), of
FULLY_CONNECTED or of CONV_2D with one tap.  Output: int16, O values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Address, Call, Cost, Operator, Struct, Table
from tinykit.ops.conv2d import bias_field, in_fours
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import exact
from tinykit.ops.gradient_arithmetic import shift_round

BITS = 4
INPUTS_MAX = 65535  # products of 9 and 8 bits that an int32 surely sums
SHIFT_MAX = 26  # of a multiplier, so that sums are shifted to the right


@dataclass(frozen=True)
class FineLogitsAttributes(Attributes):
    """shape: of the logits; multiplier, shift: of the int8 output, per output channel or one."""

    shape: tuple[int, ...]
    multiplier: tuple[int, ...]
    shift: tuple[int, ...]


class FineLogits(Operator[FineLogitsAttributes]):
    kind = "fine_logits"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (self.attributes(op).shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes, outputs = self.attributes(op), math.prod(self.attributes(op).shape)
        x = run[op.inputs[0]].reshape(-1).astype(np.int64)
        x = x - run.graph[op.inputs[0]].quant.zero_point0
        weights = run.joined(op.inputs[1], op.inputs[3] if len(op.inputs) > 3 else "")
        acc = (exact(weights).reshape(outputs, -1) @ exact(x)).astype(np.int64)
        bias = run.value_or_none(op.inputs[2])
        acc = acc if bias is None else acc + bias
        pairs = np.broadcast_arrays(acc, attributes.multiplier, attributes.shift)
        found = [
            shift_round(np.array(a * m), 31 - BITS - int(s))
            for a, m, s in zip(*(p.tolist() for p in pairs), strict=True)
        ]
        return (np.clip(found, -32768, 32767).astype(np.int16).reshape(attributes.shape),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        outputs = graph[op.outputs[0]].size
        return Cost(macs=outputs * graph[op.inputs[0]].size, elements=outputs)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        x, weights, y = graph[op.inputs[0]], graph[op.inputs[1]], graph[op.outputs[0]]
        rest = op.inputs[3] if len(op.inputs) > 3 else ""
        per_channel = len(attributes.multiplier) > 1
        multiplier, shift = np.array(attributes.multiplier), np.array(attributes.shift)
        if per_channel:  # the same tables as the int8 layer's
            multiplier, shift = in_fours(multiplier), in_fours(shift)
        struct = Struct(
            "tk_fine_logits",
            {
                "weights": Address(weights.name),
                "weights_rest": Address(rest) if rest else None,
                "bias": bias_field(graph, op),
                "multiplier": Table("int32_t", multiplier.astype(np.int32)),
                "shift": Table("int8_t", shift.astype(np.int8)),
                "inputs": x.size,
                "split": weights.shape[-1],
                "outputs": y.size,
                "zero_point": x.quant.zero_point0,
                "per_channel": int(per_channel),
            },
        )
        return (Call("tk_fine_logits_s16", struct, (x.name, y.name)),)


OPERATOR = FineLogits()
