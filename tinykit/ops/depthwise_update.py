"""Gradient of a depthwise convolution with respect to its weights, and their update.

Inputs: gradient int16 [1, OH, OW, C*M], x int8 [1, H, W, C], weights [1, KH, KW, K] (trained: the
first K output channels), residual or nothing.
"""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Field
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import exact
from tinykit.ops.weight_update import WeightUpdate


class DepthwiseUpdate(WeightUpdate):
    kind = "depthwise_update"
    struct = "tk_depthwise_update"
    function = "tk_depthwise_update_s16"
    axis = 3

    def _depth_multiplier(self, graph: Graph, op: Op) -> int:
        return graph[op.inputs[0]].shape[-1] // graph[op.inputs[1]].shape[-1]

    def sums(self, op: Op, run: Run, x: Array) -> Array:
        attributes, trained = self.attributes(op), run[op.inputs[2]].shape[-1]
        x = np.repeat(x, self._depth_multiplier(run.graph, op), axis=2)[..., :trained]
        patches = attributes.window.patches(x)  # [OH, OW, KH, KW, K]
        gradient = exact(run[op.inputs[0]]).reshape(*attributes.output_size, -1)[..., :trained]
        return np.asarray(np.einsum("yxc,yxhwc->hwc", gradient, patches))[None]

    def channel_fields(self, graph: Graph, op: Op) -> dict[str, Field]:
        return {
            "channels": graph[op.inputs[1]].shape[-1],
            "depth_multiplier": self._depth_multiplier(graph, op),
        }


OPERATOR = DepthwiseUpdate()
