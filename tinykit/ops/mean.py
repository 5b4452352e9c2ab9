"""MEAN, SUM, REDUCE_MAX: int8 over any axes, as TensorFlow Lite Micro computes them.

Input: x seen as [outer, reduced, inner]: [1, H, W, C] over H, W; [1, T, C] over T; …  Axes that
are not next to each other are brought together by a TRANSPOSE first.
Output: x's shape without the axes, or with ones in their place (keep_dims).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op, Tensor
from tinykit.ops.average_pool_grad import PoolGradAttributes
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.convolution_gradient import activation_gradient
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import code_range, quantize_multiplier, requantize
from tinykit.ops.linear_grad import linear_gradient
from tinykit.ops.rescale_gradient import rescale_gradient
from tinykit.ops.reshape import ReshapeAttributes
from tinykit.ops.rows import Reach, Row, RowForm, has_rows
from tinykit.ops.transpose import TransposeAttributes
from tinykit.ops.window import Window

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


@dataclass(frozen=True)
class MeanAttributes(Attributes):
    """axes: sorted, from 0, next to each other."""

    axes: tuple[int, ...] = ()
    keep_dims: bool = False


def multiplier(graph: Graph, op: Op, count: int) -> tuple[int, int]:
    """(multiplier, shift) by which the sum of `count` values is turned into the mean.

    Follows QuantizedMeanOrSum: 1 / count goes into the rescaling multiplier, truncated.
    """
    x, y = graph[op.inputs[0]].quant, graph[op.outputs[0]].quant
    value, shift = quantize_multiplier(x.scale0 / y.scale0)
    up = min(count.bit_length() - 1, 32, 31 + shift)
    return (value << up) // count, shift - up


class Mean(Operator[MeanAttributes]):
    kind = "mean"
    tflite = ("MEAN",)
    int16: ClassVar[tuple[str, ...]] = ("MEAN",)
    note = "over any axes (global average pooling in 1-D and 2-D)"

    def divisor(self, reduced: int) -> int:
        """By what a sum of `reduced` values is divided."""
        return reduced

    def extents(self, graph: Graph, op: Op) -> tuple[int, int, int]:
        """(outer, reduced, inner) sizes."""
        shape, axes = graph[op.inputs[0]].shape, self.attributes(op).axes
        first, last = axes[0], axes[-1] + 1
        return math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:])

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        attributes, shape = self.attributes(op), graph[op.inputs[0]].shape
        if attributes.keep_dims:
            return (tuple(1 if i in attributes.axes else n for i, n in enumerate(shape)),)
        return (tuple(n for i, n in enumerate(shape) if i not in attributes.axes),)

    def channel_flow(self, graph: Graph, op: Op) -> Literal["fixed", "through", "mixes"]:
        kept = len(graph[op.inputs[0]].shape) - 1 not in self.attributes(op).axes
        return "through" if kept else "fixed"

    def monotone(self, graph: Graph, op: Op) -> bool:
        _, reduced, _ = self.extents(graph, op)
        left = max(multiplier(graph, op, self.divisor(reduced))[1], 0)
        return (255 * reduced) << left < 2**31  # else sums wrap, as TFLM's do

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        graph = run.graph
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        extents = self.extents(graph, op)
        total = (run[x.name].reshape(extents).astype(np.int64) - x.quant.zero_point0).sum(axis=1)
        value, shift = multiplier(graph, op, self.divisor(extents[1]))
        mean = requantize(
            total, np.array(value), np.array(shift), y.quant.zero_point0,
            *code_range(y.dtype), y.dtype,
        )  # fmt: skip
        return (mean.reshape(y.shape),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        outer, reduced, inner = self.extents(graph, op)
        value, shift = multiplier(graph, op, self.divisor(reduced))
        struct = Struct(
            "tk_mean",
            {
                "outer": outer,
                "reduced": reduced,
                "inner": inner,
                "multiplier": value,
                "shift": shift,
                "input_zero_point": x.quant.zero_point0,
                "output_zero_point": y.quant.zero_point0,
            },
        )
        function = "tk_mean_s16" if x.dtype == "int16" else "tk_mean_s8"
        return (Call(function, struct, (x.name, y.name)),)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        if not has_rows(x) or self.attributes(op).axes != (1, 2) or x.dtype == "int16":
            return None
        call = Call(
            "tk_mean_fold_s8",
            self.lower(graph, op)[0].descriptor,
            (Row(x.name), "$row", x.shape[2], "$sums", y.name),
        )
        sums = 4 * x.shape[3]
        return RowForm(x.shape[1], {x.name: Reach()}, call, sums, ordered=False)

    def gradient(self, op: Op, tape: Tape) -> None:
        x = tape.graph[op.inputs[0]]
        outer, reduced, _ = self.extents(tape.graph, op)
        if outer != 1:
            axes = self.attributes(op).axes
            kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
            gradient = rescale_gradient(op, tape)
            linear_gradient(op, tape, gradient, x.name, 1 / reduced, gradient_shape=kept)
            return
        attributes = PoolGradAttributes(Window((reduced, 1)), (reduced, 1), x.shape)
        gradient = rescale_gradient(op, tape)
        result = tape.emit("average_pool_grad", op, (gradient,), x.shape, attributes)
        tape.contribute(x.name, result)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(2, 3))
        x, y = node.input(), node.output()
        rank = len(x.shape)
        given = [int(axis) for axis in node.constant(1).flat]
        node.expect(bool(given) and all(-rank <= axis < rank for axis in given), f"axes {given}")
        axes = tuple(sorted({axis % rank for axis in given}))
        node.expect(x.size < 2**23, f"{self.kind} over {x.size} values")
        reduced = math.prod(x.shape[i] for i in axes)
        node.expect(not node.int16 or reduced < 2**16, f"{self.kind} over {reduced} values")
        self.check(node, x, y)
        keep_dims = bool(node.option("KeepDims"))
        if all(i in axes or x.shape[i] == 1 for i in range(axes[0], axes[-1])):
            return (node.op(self.kind, (x.name,), MeanAttributes(axes, keep_dims)),)
        return self._transposed(node, x, axes, keep_dims)

    def check(self, node: TfliteNode, x: Tensor, y: Tensor) -> None:
        """Refuse quantizations that the reference arithmetic refuses."""

    def _transposed(
        self, node: TfliteNode, x: Tensor, axes: tuple[int, ...], keep_dims: bool
    ) -> tuple[Op, ...]:
        """The reduced axes last, next to each other."""
        kept = tuple(i for i in range(len(x.shape)) if i not in axes)
        order = (*kept, *axes)
        shape = tuple(x.shape[i] for i in order)
        y = node.output()
        ones = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        made = ones if keep_dims else shape[: len(kept)]
        node.expect(y.shape == made, f"makes {list(made)}, not {list(y.shape)}")
        moved = node.add(replace(x, name=f"{y.name}/transposed", shape=shape))
        ops = [Op("transpose", f"{node.name}/transpose", (x.name,), (moved,),
                  TransposeAttributes(order), layer=node.name)]  # fmt: skip
        last = MeanAttributes(tuple(range(len(kept), len(shape))), False)
        if not keep_dims:
            return (*ops, node.op(self.kind, (moved,), last))
        flat = node.add(replace(y, name=f"{y.name}/flat", shape=shape[: len(kept)]))
        ops.append(Op(self.kind, node.name, (moved,), (flat,), last, layer=node.name))
        reshape = ReshapeAttributes(ones)
        ops.append(Op("reshape", f"{node.name}/reshape", (flat,), (y.name,), reshape,
                      layer=node.name))  # fmt: skip
        return tuple(ops)


class Sum(Mean):
    kind = "sum"
    tflite = ("SUM",)
    int16 = ("SUM",)
    note = "over any axes"

    def divisor(self, reduced: int) -> int:
        return 1

    def gradient(self, op: Op, tape: Tape) -> None:
        x = tape.graph[op.inputs[0]]
        axes = self.attributes(op).axes
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        gradient = activation_gradient(op, tape, "none")
        linear_gradient(op, tape, gradient, x.name, 1.0, gradient_shape=kept)


class ReduceMax(Mean):
    kind = "reduce_max"
    tflite = ("REDUCE_MAX",)
    int16 = ()
    note = "int8 of one quantization, over any axes"

    def monotone(self, graph: Graph, op: Op) -> bool:
        return True

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        graph = run.graph
        x = run[op.inputs[0]].reshape(self.extents(graph, op))
        return (x.max(axis=1).reshape(graph[op.outputs[0]].shape),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        outer, reduced, inner = self.extents(graph, op)
        struct = Struct("tk_reduce_max", {"outer": outer, "reduced": reduced, "inner": inner})
        return (Call("tk_reduce_max_s8", struct, (op.inputs[0], op.outputs[0])),)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        return None

    def gradient(self, op: Op, tape: Tape) -> None:
        """To the first largest: as a MAX_POOL_2D of [outer, reduced] pixels over whole rows.

        (TensorFlow's reduce_max shares a gradient out among equals; its max pools do not.)
        """
        x = tape.graph[op.inputs[0]]
        outer, reduced, _ = self.extents(tape.graph, op)
        window = Window((1, reduced), (1, reduced))
        attributes = PoolGradAttributes(window, (outer, reduced), x.shape)
        inputs = (tape.gradient_of(op.outputs[0]), x.name)
        tape.contribute(x.name, tape.emit("max_pool_grad", op, inputs, x.shape, attributes))

    def check(self, node: TfliteNode, x: Tensor, y: Tensor) -> None:
        node.expect_same_quantization(x, y)


OPERATORS = (Mean(), Sum(), ReduceMax())
