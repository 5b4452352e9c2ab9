"""Gradient of a convolution with respect to its weights, and their update, in one go.

Inputs: gradient int16 [1, OH, OW, O], x int8 [1, H, W, C], weights [O, KH, KW, K] (trained: the
first K input channels), residual or nothing.
"""

from __future__ import annotations

import math

from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Field
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import exact
from tinykit.ops.gradient_arithmetic import PLANES_MAX
from tinykit.ops.weight_update import WIDTH_MAX, WeightUpdate


class Conv2DUpdate(WeightUpdate):
    kind = "conv2d_update"
    struct = "tk_conv2d_update"
    function = "tk_conv2d_update_s16"
    axis = 0
    work = ("$scratch",)

    def sums(self, op: Op, run: Run, x: Array) -> Array:
        shape = run[op.inputs[2]].shape
        patches = self.attributes(op).window.patches(x[..., : shape[-1]])
        gradient = exact(run[op.inputs[0]]).reshape(-1, shape[0])
        sums: Array = gradient.T @ patches.reshape(gradient.shape[0], -1)
        return sums.reshape(shape)

    def scratch(self, graph: Graph, op: Op) -> int:
        pixels = math.prod(self.attributes(op).output_size)
        size = 8 * (graph[op.inputs[2]].shape[-1] // 4) * (pixels // 2 * 2)
        fits = self.attributes(op).window.pointwise and pixels <= WIDTH_MAX and size <= PLANES_MAX
        return size if fits else 0

    def channel_fields(self, graph: Graph, op: Op) -> dict[str, Field]:
        return {
            "input_channels": graph[op.inputs[1]].shape[-1],
            "output_channels": graph[op.inputs[2]].shape[0],
            "planes": int(self.scratch(graph, op) > 0),
        }


OPERATOR = Conv2DUpdate()
