"""Gradient of a depthwise convolution with respect to its weights, and their update.

Inputs: gradient int16 [1, OH, OW, C*M], x int8 [1, H, W, C], weights [1, KH, KW, K] (trained: the
first K output channels), residual or nothing.
"""

from __future__ import annotations

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call, Cost, Operator, Struct
from tinykit.ops.conv2d_update import WeightUpdateAttributes, weight_constant
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import exact
from tinykit.ops.gradient_arithmetic import shift_round
from tinykit.ops.update import apply_update, fold_shift, update_struct


class DepthwiseUpdate(Operator[WeightUpdateAttributes]):
    kind = "depthwise_update"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return ()

    def _fold(self, op: Op) -> int:
        oh, ow = self.attributes(op).output_size
        return fold_shift(oh * ow)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes = self.attributes(op)
        graph, weights = run.graph, run[op.inputs[2]]
        x_tensor, gradient_tensor = graph[op.inputs[1]], graph[op.inputs[0]]
        trained = weights.shape[-1]
        multiplier = gradient_tensor.shape[-1] // x_tensor.shape[-1]
        x = exact(run[op.inputs[1]][0].astype(np.int32) - x_tensor.quant.zero_point0)
        x = np.repeat(x, multiplier, axis=2)[..., :trained]
        patches = attributes.window.patches(x)  # [OH, OW, KH, KW, K]
        oh, ow = attributes.output_size
        gradient = run[op.inputs[0]].reshape(oh, ow, -1)[..., :trained].astype(np.float64)
        acc = np.einsum("yxc,yxhwc->hwc", gradient, patches)
        unit = 1.0 if run.real else gradient_tensor.quant.scale0
        real = acc * unit * x_tensor.quant.scale0 * run.step.normalisation
        run.gradients[op.inputs[2]] = real[None]
        if run.real:
            return tuple(run[name] for name in op.updates)
        fold = self._fold(op)
        folded = shift_round(np.rint(acc).astype(np.int64), fold)[None]
        constant = weight_constant(graph, op, attributes.scales, fold)
        return apply_update(op, run, folded, constant, attributes, axis=3)

    def cost(self, graph: Graph, op: Op) -> Cost:
        oh, ow = self.attributes(op).output_size
        size = graph[op.inputs[2]].size
        return Cost(oh * ow * size, size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        gradient, x, weights = (graph[name] for name in op.inputs[:3])
        if attributes.output_size[1] > 256:
            raise PlanError(f"layer {op.layer}: weights of maps wider than 256 cannot train")
        fold = self._fold(op)
        constant = weight_constant(graph, op, attributes.scales, fold)
        struct = Struct(
            "tk_depthwise_update",
            {
                "window": attributes.window.struct(attributes.input_size, attributes.output_size),
                "update": update_struct(op, constant, attributes),
                "channels": x.shape[-1],
                "depth_multiplier": gradient.shape[-1] // x.shape[-1],
                "split": weights.shape[-1],
                "input_zero_point": x.quant.zero_point0,
                "fold_shift": fold,
            },
        )
        arguments = (gradient.name, x.name, "$trainer")
        return (Call("tk_depthwise_update_s16", struct, arguments),)


OPERATOR = DepthwiseUpdate()
