"""Gradient of an average over windows: AVERAGE_POOL_2D, and MEAN as one window over the map.

Input: gradient int16 [1, OH, OW, C].  Output: [1, H, W, C], each element the sum of
gradient / (number of real pixels in the window) over the windows that see it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import gradient_result, gradient_shift
from tinykit.ops.window import Pair, Window

RECIPROCAL_BITS = 24  # windows of thousands of pixels still divide to within 0.1 %


@dataclass(frozen=True)
class PoolGradAttributes(Attributes):
    """window: the pool's; input_size: (H, W) of its input; shape: of that tensor."""

    window: Window
    input_size: Pair
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        return math.prod(self.shape) // (self.input_size[0] * self.input_size[1])


def window_counts(attributes: PoolGradAttributes) -> Array:
    """[OH, OW]: real pixels in each window."""
    ones = np.ones((*attributes.input_size, 1))
    return np.asarray(attributes.window.patches(ones).sum(axis=(2, 3, 4)))


class AveragePoolGrad(Operator[PoolGradAttributes]):
    kind = "average_pool_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (self.attributes(op).shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes = self.attributes(op)
        gradient = run[op.inputs[0]]
        counts = window_counts(attributes)[..., None]
        oh, ow, channels = counts.shape[0], counts.shape[1], attributes.channels
        spread = gradient.reshape(oh, ow, channels).astype(np.float64)
        if run.real:
            spread = spread / counts
        else:
            spread = spread * np.floor(2**RECIPROCAL_BITS / counts + 0.5)
        kernel = attributes.window.kernel
        patches = np.broadcast_to(spread[:, :, None, None, :], (oh, ow, *kernel, channels))
        acc = attributes.window.scatter(patches, *attributes.input_size)
        shift = 0 if run.real else self._shift(run.graph, op)
        return (gradient_result(run, acc, shift, attributes.shape),)

    def _shift(self, graph: Graph, op: Op) -> int:
        exponent = graph[op.inputs[0]].quant.exponent - RECIPROCAL_BITS
        return gradient_shift(op.name, graph[op.outputs[0]].quant.exponent, exponent)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        gradient, result = graph[op.inputs[0]], graph[op.outputs[0]]
        size = attributes.window.output_size(*attributes.input_size)
        struct = Struct(
            "tk_pool_grad",
            {
                "window": attributes.window.struct(attributes.input_size, size),
                "channels": attributes.channels,
                "shift": self._shift(graph, op),
            },
        )
        return (Call("tk_average_pool_grad_s16", struct, (gradient.name, result.name, "$trainer")),)


OPERATOR = AveragePoolGrad()
