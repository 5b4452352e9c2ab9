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
from tinykit.ops.update import (
    Units,
    UpdateAttributes,
    apply_update,
    is_plain,
    units,
    update_struct,
)

PIXELS_MAX = 2**16 - 1  # int16 values that an int32 surely sums


class BiasUpdate(Operator[UpdateAttributes]):
    kind = "bias_update"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return ()

    def _units(self, graph: Graph, op: Op) -> Units:
        """Biases are in steps of s_x * s_w = s_y * M."""
        gradient = graph[op.inputs[0]].quant.scale0
        return Units(gradient, units(op) / self.attributes(op).scales.output)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        gradient = run[op.inputs[0]]
        acc = gradient.reshape(-1, gradient.shape[-1]).astype(np.float64).sum(axis=0)
        scale = 1.0 if run.real else run.graph[op.inputs[0]].quant.scale0
        run.gradients[op.inputs[1]] = acc * scale * run.step.normalisation
        if run.real:
            return tuple(run[name] for name in op.updates)
        unit = self._units(run.graph, op)
        return apply_update(op, run, acc.astype(np.int64), unit, self.attributes(op))

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
                "update": update_struct(op, self._units(graph, op), self.attributes(op)),
                "pixels": gradient.size // channels,
                "channels": channels,
            },
        )
        plain = is_plain(op, self.attributes(op).rule)
        function = "tk_bias_update_s16" if plain else "tk_bias_update_state_s16"
        return (Call(function, struct, (op.inputs[0], "$trainer")),)


OPERATOR = BiasUpdate()
