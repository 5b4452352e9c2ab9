"""AVERAGE_POOL_2D and MAX_POOL_2D, as TensorFlow Lite Micro computes them.

Input: x [1, H, W, C].  Neither rescales.  Padding does not count in an average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op, Tensor
from tinykit.ops.average_pool_grad import PoolGradAttributes
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.convolution_gradient import activation_gradient
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import activation_range
from tinykit.ops.rows import Reach, Row, RowForm, has_rows, row_call
from tinykit.ops.window import Pair, Window

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


@dataclass(frozen=True)
class PoolAttributes(Attributes):
    """kernel, stride: (height, width); padding: (top, bottom, left, right)."""

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    activation: str = "none"

    @property
    def window(self) -> Window:
        return Window(self.kernel, self.stride, (1, 1), self.padding)


def pool_gradient_attributes(op: Op, tape: Tape) -> tuple[Tensor, PoolGradAttributes]:
    """The pool's input, and the attributes of its gradient op."""
    x = tape.graph[op.inputs[0]]
    assert isinstance(op.attributes, PoolAttributes)
    return x, PoolGradAttributes(op.attributes.window, (x.shape[1], x.shape[2]), x.shape)


def pool_activation_gradient(op: Op, tape: Tape) -> str:
    """The gradient in front of a pool's fused activation; the ends of int8 never clamp a pool."""
    assert isinstance(op.attributes, PoolAttributes)
    if op.attributes.activation == "none":
        return tape.gradient_of(op.outputs[0])
    return activation_gradient(op, tape, op.attributes.activation)


class Pool(Operator[PoolAttributes]):
    note = "any window, stride and padding"
    flow = "through"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        batch, height, width, channels = graph[op.inputs[0]].shape
        if batch != 1:
            raise ModelError(f"layer {op.name}: batch {batch}; supported is 1")
        oh, ow = self.attributes(op).window.output_size(height, width)
        return ((1, oh, ow, channels),)

    def monotone(self, graph: Graph, op: Op) -> bool:
        return True

    def pool(self, x: Array, window: Window) -> Array:
        """int64 codes [H, W, C] -> [OH, OW, C], not clamped."""
        raise NotImplementedError

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes, y = self.attributes(op), run.graph[op.outputs[0]]
        low, high = activation_range(attributes.activation, y.quant, y.dtype)
        pooled = self.pool(run[op.inputs[0]][0].astype(np.int64), attributes.window)
        return (np.clip(pooled, low, high).astype(np.dtype(y.dtype))[None],)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        low, high = activation_range(attributes.activation, y.quant, y.dtype)
        size = (x.shape[1], x.shape[2]), (y.shape[1], y.shape[2])
        struct = Struct(
            "tk_pool16" if y.dtype == "int16" else "tk_pool",
            {
                "window": attributes.window.struct(*size),
                "channels": x.shape[3],
                "activation_min": low,
                "activation_max": high,
            },
        )
        suffix = "s16" if y.dtype == "int16" else "s8"
        return (Call(f"tk_{self.kind}_{suffix}", struct, (x.name, y.name)),)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        if not has_rows(x, y):
            return None
        reach = self.attributes(op).window.row_reach
        return RowForm(y.shape[1], {x.name: reach}, row_call(self.lower(graph, op)[0]))

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 2))
        x, y = node.input(), node.output()
        node.expect(len(x.shape) == 4, f"input {x.name} is not [1, H, W, C]")
        node.expect(x.shape[3] <= 65535, f"{x.shape[3]} channels")
        node.expect_same_quantization(x, y)
        kernel = node.pair("FilterHeight", "FilterWidth")
        stride = node.pair("StrideH", "StrideW")
        node.expect(kernel[0] * kernel[1] <= node.LARGEST, f"a window of {list(kernel)}")
        padding = node.padding((x.shape[1], x.shape[2]), kernel, stride)
        attributes = PoolAttributes(kernel, stride, padding, node.activation)
        return (node.op(self.kind, (x.name,), attributes),)


class AveragePool2D(Pool):
    kind = "average_pool2d"
    tflite = ("AVERAGE_POOL_2D",)
    int16 = ("AVERAGE_POOL_2D",)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        if x.dtype == "int16" or not (has_rows(x, y) and self._sees_all(op, x.shape, y.shape)):
            return super().rows(graph, op)
        call = Call(
            "tk_average_pool2d_fold_s8",
            self.lower(graph, op)[0].descriptor,
            (Row(x.name), "$row", "$sums", y.name),
        )
        sums = 4 * y.shape[3]
        return RowForm(x.shape[1], {x.name: Reach()}, call, sums, ordered=False)

    def _sees_all(self, op: Op, x: tuple[int, ...], y: tuple[int, ...]) -> bool:
        """Whether there is one window, and the whole input lies in it."""
        attributes = self.attributes(op)
        top, _, left, _ = attributes.padding
        kernel = attributes.kernel
        return y[1:3] == (1, 1) and kernel[0] - top >= x[1] and kernel[1] - left >= x[2]

    def pool(self, x: Array, window: Window) -> Array:
        total = window.patches(x).sum(axis=(2, 3))
        count = window.patches(np.ones_like(x)).sum(axis=(2, 3))
        rounded = np.abs(total) + count // 2
        mean: Array = np.sign(total) * (rounded // count)  # halves away from zero
        return mean

    def gradient(self, op: Op, tape: Tape) -> None:
        x, attributes = pool_gradient_attributes(op, tape)
        gradient = pool_activation_gradient(op, tape)
        result = tape.emit("average_pool_grad", op, (gradient,), x.shape, attributes)
        tape.contribute(x.name, result)


class MaxPool2D(Pool):
    kind = "max_pool2d"
    tflite = ("MAX_POOL_2D",)
    int16 = ("MAX_POOL_2D",)

    def pool(self, x: Array, window: Window) -> Array:
        largest: Array = window.patches(x, fill=-(2**15)).max(axis=(2, 3))
        return largest

    def gradient(self, op: Op, tape: Tape) -> None:
        x, attributes = pool_gradient_attributes(op, tape)
        gradient = pool_activation_gradient(op, tape)
        result = tape.emit("max_pool_grad", op, (gradient, x.name), x.shape, attributes)
        tape.contribute(x.name, result)


OPERATORS = (AveragePool2D(), MaxPool2D())
