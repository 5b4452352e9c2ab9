"""Gradient of a convolution with respect to its weights, and their update, in one go.

Inputs: gradient int16 [1, OH, OW, O], x int8 [1, H, W, C], weights [O, KH, KW, K] (trained: the
first K input channels), residual or nothing.
"""

from __future__ import annotations

from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Field
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import exact
from tinykit.ops.weight_update import WeightUpdate


class Conv2DUpdate(WeightUpdate):
    kind = "conv2d_update"
    struct = "tk_conv2d_update"
    function = "tk_conv2d_update_s16"
    axis = 0

    def sums(self, op: Op, run: Run, x: Array) -> Array:
        shape = run[op.inputs[2]].shape
        patches = self.attributes(op).window.patches(x[..., : shape[-1]])
        gradient = exact(run[op.inputs[0]]).reshape(-1, shape[0])
        sums: Array = gradient.T @ patches.reshape(gradient.shape[0], -1)
        return sums.reshape(shape)

    def channel_fields(self, graph: Graph, op: Op) -> dict[str, Field]:
        return {
            "input_channels": graph[op.inputs[1]].shape[-1],
            "output_channels": graph[op.inputs[2]].shape[0],
        }


OPERATOR = Conv2DUpdate()
