"""Gradient of a layer with respect to its bias, and the bias's update, in one go.

Inputs: gradient int16 [..., O], bias int32 [O], residual or nothing.  G = sum over pixels of g;
the bias is in units of s_x * s_w.
"""

from __future__ import annotations

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call, Cost, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.update import UpdateAttributes, apply_update, units, update_struct

PIXELS_MAX = 2**16 - 1  # int16 values that an int32 surely sums


class BiasUpdate(Operator[UpdateAttributes]):
    kind = "bias_update"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return ()

    def _constant(self, graph: Graph, op: Op) -> float:
        """Update units per unit of the sum at rate 1, times M; Δb = rate * G / (s_x * s_w)."""
        return graph[op.inputs[0]].quant.scale0 * units(op) / self.attributes(op).scales.output

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        gradient = run[op.inputs[0]]
        acc = gradient.reshape(-1, gradient.shape[-1]).astype(np.float64).sum(axis=0)
        unit = 1.0 if run.real else run.graph[op.inputs[0]].quant.scale0
        run.gradients[op.inputs[1]] = acc * unit * run.step.normalisation
        if run.real:
            return tuple(run[name] for name in op.updates)
        constant = self._constant(run.graph, op)
        return apply_update(op, run, acc.astype(np.int64), constant, self.attributes(op))

    def cost(self, graph: Graph, op: Op) -> Cost:
        return Cost(elements=graph[op.inputs[0]].size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        gradient = graph[op.inputs[0]]
        channels = gradient.shape[-1]
        if gradient.size // channels > PIXELS_MAX:
            raise PlanError(
                f"layer {op.layer}: biases of maps above {PIXELS_MAX} pixels cannot train"
            )
        struct = Struct(
            "tk_bias_update",
            {
                "update": update_struct(op, self._constant(graph, op), self.attributes(op)),
                "pixels": gradient.size // channels,
                "channels": channels,
            },
        )
        return (Call("tk_bias_update_s16", struct, (op.inputs[0], "$trainer")),)


OPERATOR = BiasUpdate()
