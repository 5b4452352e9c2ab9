"""Zeros between the pixels of a map, for TRANSPOSE_CONV: (y, x) goes to (y * down, x * right).

TRANSPOSE_CONV becomes a spread and a CONV_2D with its kernel turned round: the same sums, the
same gradients and updates.  It multiplies by the zeros, too: stride^2 times the products.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator
from tinykit.ops.conv2d import Conv2DAttributes, check_sums, output_multipliers
from tinykit.ops.evaluate import Run
from tinykit.ops.slice import SliceAttributes
from tinykit.ops.strided_copy import Axis, copy_call
from tinykit.ops.window import Pair, same_padding

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


@dataclass(frozen=True)
class SpreadAttributes(Attributes):
    """stride: (down, right)."""

    stride: Pair = (1, 1)


class Spread(Operator[SpreadAttributes]):
    kind = "spread"
    tflite = ("TRANSPOSE_CONV",)
    int16 = tflite
    note = (
        "weights per tensor or per channel, any kernel and stride, SAME or VALID: zeros "
        "between the pixels, then conv2d, which can learn"
    )
    moves = True

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        shape, (down, right) = graph[op.inputs[0]].shape, self.attributes(op).stride
        if len(shape) != 4:
            raise ModelError(f"layer {op.name}: {list(shape)} is not [N, H, W, C]")
        batch, height, width, channels = shape
        return ((batch, (height - 1) * down + 1, (width - 1) * right + 1, channels),)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        y, (down, right) = run.graph[op.outputs[0]], self.attributes(op).stride
        result = np.full(y.shape, y.quant.zero_point0, np.dtype(y.dtype))
        result[:, ::down, ::right] = run[op.inputs[0]]
        return (result,)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        batch, height, width, channels = x.shape
        down, right = self.attributes(op).stride
        row = y.shape[2] * channels
        axes = [
            Axis(batch, height * width * channels, y.shape[1] * row),
            Axis(height, width * channels, down * row),
            Axis(width, channels, right * channels),
            Axis(channels, 1, 1),
        ]
        return (copy_call(x, y, axes, filled=y.quant.zero_point0),)

    def gradient(self, op: Op, tape: Tape) -> None:
        shape, (down, right) = tape.graph[op.inputs[0]].shape, self.attributes(op).stride
        back = SliceAttributes((0, 0, 0, 0), (1, down, right, 1), shape)
        gradient = tape.gradient_of(op.outputs[0])
        tape.contribute(op.inputs[0], tape.emit("slice", op, (gradient,), shape, back))

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(3, 5))
        x = node.input(2)
        weights = node.weights(1, axis=0, rank=4)
        node.expect(
            len(x.shape) == 4 and weights.shape[3] == x.shape[3]
            and max(weights.shape) <= node.LARGEST,
            f"weights {list(weights.shape)} do not fit input {list(x.shape)}",
        )  # fmt: skip
        bias = node.bias(3, weights.shape[0])
        node.shape_output(tuple(int(n) for n in node.constant(0).flat))
        y = node.output()
        node.expect(
            len(y.shape) == 4 and (y.shape[0], y.shape[3]) == (x.shape[0], weights.shape[0]),
            f"makes {list(y.shape)} with weights {list(weights.shape)}",
        )
        stride = node.pair("StrideH", "StrideW")
        padding = _padding(node, (x.shape[1], x.shape[2]), (y.shape[1], y.shape[2]),
                           (weights.shape[1], weights.shape[2]), stride)  # fmt: skip
        turned = replace(
            weights,
            name=f"{weights.name}/turned",
            data=np.ascontiguousarray(weights.value[:, ::-1, ::-1]),
        )
        name, ops = x.name, list[Op]()
        attributes = SpreadAttributes(stride)
        if stride != (1, 1):
            name = node.add(replace(x, name=f"{y.name}/spread"))
            op = Op(self.kind, f"{node.name}/spread", (x.name,), (name,), attributes,
                    layer=f"{node.name}/spread")  # fmt: skip
            (shape,) = self.shapes(Graph("", node.tensors, (), (), ()), op)
            node.expect(max(shape) <= node.LARGEST, f"{list(x.shape)} spread to {list(shape)}")
            node.add(replace(x, name=name, shape=shape))
            ops.append(op)
        convolution = Conv2DAttributes(stride=(1, 1), padding=padding, activation=node.activation)
        made = node.op("conv2d", (name, node.add(turned), bias), convolution)
        check_sums(node, made, output_multipliers, channel_axis=0)
        node.expect(
            not (node.int16 and bias) or node.tensors[bias].dtype == "int64",
            "biases of 32 bits; TensorFlow Lite Micro takes 64 bits here",
        )
        return (*ops, made)


def _padding(
    node: TfliteNode, size: Pair, made: Pair, kernel: Pair, stride: Pair
) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the convolution over the spread map."""
    mode = node.option("Padding")
    node.expect(mode in (0, 1), f"padding mode {mode} is not SAME or VALID")
    found = []
    for n, out, k, s in zip(size, made, kernel, stride, strict=True):
        cut = same_padding(out, k, s, 1)[0] if mode == 0 else 0  # from the full result's start
        before = k - 1 - cut
        after = out + k - 1 - before - ((n - 1) * s + 1)
        node.expect(
            before >= 0 and after >= 0,
            f"{list(size)} cannot become {list(made)} by a kernel of {list(kernel)}, "
            f"stride {list(stride)}",
        )
        found += [before, after]
    top, bottom, left, right = found
    return top, bottom, left, right


OPERATOR = Spread()
