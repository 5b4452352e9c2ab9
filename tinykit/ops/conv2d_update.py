"""Gradient of a convolution with respect to its weights, and their update, in one go.

Inputs: gradient int16 [1, OH, OW, O], x int8 [1, H, W, C], weights [O, KH, KW, K] (trained: the
first K input channels), residual or nothing.  G = s_x * sum over pixels of g * (x - zero point).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call, Cost, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import exact
from tinykit.ops.gradient_arithmetic import shift_round
from tinykit.ops.layer_scales import LayerScales
from tinykit.ops.update import UpdateAttributes, apply_update, fold_shift, units, update_struct
from tinykit.ops.window import Pair, Window


@dataclass(frozen=True, kw_only=True)
class WeightUpdateAttributes(UpdateAttributes):
    """window of the forward op; sizes (H, W) and (OH, OW)."""

    window: Window
    input_size: Pair
    output_size: Pair


def weight_constant(graph: Graph, op: Op, scales: LayerScales, fold: int) -> float:
    """Update units per unit of the folded accumulator at rate 1, times M = s_x * s_w / s_y.

    ΔW_int = rate * s_x * 2^e * acc / s_w, in units of 1/256 of an int8 step.
    """
    gradient = graph[op.inputs[0]].quant.scale0 * 2.0**fold
    return scales.input * scales.input * gradient * units(op) / scales.output


class Conv2DUpdate(Operator[WeightUpdateAttributes]):
    kind = "conv2d_update"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return ()

    def _fold(self, op: Op) -> int:
        oh, ow = self.attributes(op).output_size
        return fold_shift(oh * ow)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes = self.attributes(op)
        graph, weights = run.graph, run[op.inputs[2]]
        x_tensor = graph[op.inputs[1]]
        x = run[op.inputs[1]].reshape(*attributes.input_size, -1)[..., : weights.shape[-1]]
        x = exact(x.astype(np.int32) - x_tensor.quant.zero_point0)
        patches = attributes.window.patches(x)
        gradient = run[op.inputs[0]].reshape(-1, weights.shape[0]).astype(np.float64)
        acc = (gradient.T @ patches.reshape(gradient.shape[0], -1)).reshape(weights.shape)
        unit = 1.0 if run.real else graph[op.inputs[0]].quant.scale0
        run.gradients[op.inputs[2]] = acc * unit * x_tensor.quant.scale0 * run.step.normalisation
        if run.real:
            return tuple(run[name] for name in op.updates)
        fold = self._fold(op)
        folded = shift_round(np.rint(acc).astype(np.int64), fold)
        constant = weight_constant(graph, op, attributes.scales, fold)
        return apply_update(op, run, folded, constant, attributes)

    def cost(self, graph: Graph, op: Op) -> Cost:
        oh, ow = self.attributes(op).output_size
        size = graph[op.inputs[2]].size
        return Cost(oh * ow * size, size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        x, weights = graph[op.inputs[1]], graph[op.inputs[2]]
        if attributes.output_size[1] > 256:
            raise PlanError(f"layer {op.layer}: weights of maps wider than 256 cannot train")
        fold = self._fold(op)
        constant = weight_constant(graph, op, attributes.scales, fold)
        struct = Struct(
            "tk_conv2d_update",
            {
                "window": attributes.window.struct(attributes.input_size, attributes.output_size),
                "update": update_struct(op, constant, attributes),
                "input_channels": x.shape[-1],
                "split": weights.shape[-1],
                "output_channels": weights.shape[0],
                "input_zero_point": x.quant.zero_point0,
                "fold_shift": fold,
            },
        )
        arguments = (op.inputs[0], op.inputs[1], "$trainer")
        return (Call("tk_conv2d_update_s16", struct, arguments),)


OPERATOR = Conv2DUpdate()
