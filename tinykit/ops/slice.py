"""SLICE, STRIDED_SLICE, SPLIT, SPLIT_V, UNPACK: every step-th element of a box.

Operators with several outputs become one op for each output: what nobody reads costs nothing.
Of gradients (int16) it is the way back from CONCATENATION.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator
from tinykit.ops.evaluate import Run
from tinykit.ops.reshape import ReshapeAttributes
from tinykit.ops.strided_copy import LARGEST_RANK, Axis, copy_call, strides, walk

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


@dataclass(frozen=True)
class SliceAttributes(Attributes):
    """Along each axis the elements begin, begin + step, …, size of them; steps may be negative."""

    begin: tuple[int, ...] = ()
    step: tuple[int, ...] = ()
    size: tuple[int, ...] = ()

    @property
    def index(self) -> tuple[Array, ...]:
        """What NumPy wants in brackets."""
        axes = zip(self.begin, self.step, self.size, strict=True)
        return np.ix_(*(begin + step * np.arange(size) for begin, step, size in axes))

    def fits(self, shape: tuple[int, ...]) -> bool:
        if not len(self.begin) == len(self.step) == len(self.size) == len(shape):
            return False
        return all(
            size > 0 and 0 <= begin < n and 0 <= begin + step * (size - 1) < n
            for begin, step, size, n in zip(self.begin, self.step, self.size, shape, strict=True)
        )

    def walk(self, shape: tuple[int, ...]) -> tuple[int, list[Axis]]:
        """(where it begins in a tensor of that shape, the axes that are read from it)"""
        steps, writes = strides(shape), strides(self.size)
        first = sum(begin * n for begin, n in zip(self.begin, steps, strict=True))
        pairs = zip(self.size, steps, self.step, writes, strict=True)
        return first, walk([Axis(size, n * step, write) for size, n, step, write in pairs])


def box(shape: tuple[int, ...], axis: int, begin: int, size: int) -> SliceAttributes:
    """`size` neighbours along one axis, all of the others."""
    rank = len(shape)
    begins, sizes = [0] * rank, list(shape)
    begins[axis], sizes[axis] = begin, size
    return SliceAttributes(tuple(begins), (1,) * rank, tuple(sizes))


class Slice(Operator[SliceAttributes]):
    kind = "slice"
    tflite = ("SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "UNPACK")
    int16 = tflite
    note = (
        "constant begin, end, sizes and strides (negative ones too), begin, end and shrink "
        f"masks; walks of up to {LARGEST_RANK} axes; no ellipsis and no new axis, as in TFLM"
    )
    moves = True

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        shape, attributes = graph[op.inputs[0]].shape, self.attributes(op)
        if not attributes.fits(shape):
            raise ModelError(f"layer {op.name}: {attributes} lies outside {list(shape)}")
        return (attributes.size,)

    def monotone(self, graph: Graph, op: Op) -> bool:
        return True

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        return (np.ascontiguousarray(run[op.inputs[0]][self.attributes(op).index]),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        first, axes = self.attributes(op).walk(x.shape)
        return (copy_call(x, y, axes, (first, 0)),)

    def gradient(self, op: Op, tape: Tape) -> None:
        shape = tape.graph[op.inputs[0]].shape
        gradient = tape.gradient_of(op.outputs[0])
        tape.contribute(
            op.inputs[0], tape.emit("slice_grad", op, (gradient,), shape, op.attributes)
        )

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        x = node.input(1 if node.builtin == "SPLIT" else 0)
        parts = {
            "SLICE": _slice, "STRIDED_SLICE": _strided_slice, "SPLIT": _split,
            "SPLIT_V": _split_sizes, "UNPACK": _unpack,
        }[node.builtin](node, x.shape)  # fmt: skip
        ops: list[Op] = []
        for i, (part, shape) in enumerate(parts):
            node.shape_output(shape, i)
            y = node.output(i=i)
            node.expect_same_quantization(x, y)
            node.expect(part.fits(x.shape), f"takes {part} out of {list(x.shape)}")
            node.expect(shape == y.shape, f"makes {list(shape)}, declared {list(y.shape)}")
            node.expect(
                len(part.walk(x.shape)[1]) <= LARGEST_RANK,
                f"a slice of {list(x.shape)}; supported are {LARGEST_RANK} axes",
            )
            name = node.name if i == 0 else f"{node.name}/{i}"
            made = y.name
            if shape != part.size:
                made = node.add(replace(y, name=f"{y.name}/slice", shape=part.size))
            ops.append(Op(self.kind, name, (x.name,), (made,), part, layer=name))
            if made != y.name:
                shaped = f"{name}/shape"
                ops.append(
                    Op("reshape", shaped, (made,), (y.name,), ReshapeAttributes(shape),
                       layer=shaped)
                )  # fmt: skip
        return tuple(ops)


Part = tuple[SliceAttributes, tuple[int, ...]]  # what is taken; its shape in the end


def _slice(node: TfliteNode, shape: tuple[int, ...]) -> list[Part]:
    node.expect_counts(range(3, 4))
    begin, size = ([int(n) for n in node.constant(i).flat] for i in (1, 2))
    node.expect(
        len(begin) == len(size) == len(shape), f"slices {list(shape)} at {begin}, sizes {size}"
    )
    sizes = tuple(n - b if s == -1 else s for n, b, s in zip(shape, begin, size, strict=True))
    return [(SliceAttributes(tuple(begin), (1,) * len(shape), sizes), sizes)]


def _strided_slice(node: TfliteNode, shape: tuple[int, ...]) -> list[Part]:
    node.expect_counts(range(4, 5))
    for mask in ("EllipsisMask", "NewAxisMask"):
        node.expect(
            node.option(mask) == 0,
            f"{mask} {node.option(mask)} is not supported",
            "supported are begin, end and shrink masks, as in TensorFlow Lite Micro",
        )
    begin, end, step = ([int(n) for n in node.constant(i).flat] for i in (1, 2, 3))
    node.expect(
        len(begin) == len(end) == len(step) == len(shape) and 0 not in step,
        f"slices {list(shape)} from {begin} to {end} by {step}",
    )
    masks = [node.option(name) for name in ("BeginMask", "EndMask", "ShrinkAxisMask")]
    if node.option("Offset"):
        end = [b + e for b, e in zip(begin, end, strict=True)]
    begins, steps, sizes, kept = [], [], [], []
    for i, n in enumerate(shape):
        no_begin, no_end, shrinks = (mask >> i & 1 for mask in masks)
        first, last, by = slice(
            None if no_begin else begin[i], None if no_end else end[i], step[i]
        ).indices(n)
        begins.append(first)
        steps.append(1 if shrinks else by)
        sizes.append(1 if shrinks else len(range(first, last, by)))
        if not shrinks:
            kept.append(sizes[-1])
    part = SliceAttributes(tuple(begins), tuple(steps), tuple(sizes))
    return [(part, tuple(kept) or (1,))]


def _neighbours(
    node: TfliteNode, shape: tuple[int, ...], axis: int, sizes: Sequence[int]
) -> list[Part]:
    node.expect(-len(shape) <= axis < len(shape), f"no axis {axis} in {list(shape)}")
    axis %= len(shape)
    node.expect(
        sum(sizes) == shape[axis] and len(sizes) == len(node.outputs),
        f"{list(shape)} cannot be split into {list(sizes)} along axis {axis}, "
        f"{len(node.outputs)} outputs",
    )
    begins = np.cumsum([0, *sizes])
    parts = [box(shape, axis, int(b), int(n)) for b, n in zip(begins[:-1], sizes, strict=True)]
    return [(part, part.size) for part in parts]


def _split(node: TfliteNode, shape: tuple[int, ...]) -> list[Part]:
    node.expect_counts(range(2, 3), len(node.outputs))
    axis, count = int(node.constant(0).flat[0]), len(node.outputs)
    size = shape[axis] // count if -len(shape) <= axis < len(shape) else 0
    return _neighbours(node, shape, axis, [size] * count)


def _split_sizes(node: TfliteNode, shape: tuple[int, ...]) -> list[Part]:
    node.expect_counts(range(3, 4), len(node.outputs))
    sizes, axis = [int(n) for n in node.constant(1).flat], int(node.constant(2).flat[0])
    if sizes.count(-1) == 1 and -len(shape) <= axis < len(shape):
        sizes[sizes.index(-1)] = shape[axis] - sum(sizes) - 1
    return _neighbours(node, shape, axis, sizes)


def _unpack(node: TfliteNode, shape: tuple[int, ...]) -> list[Part]:
    node.expect_counts(range(1, 2), len(node.outputs))
    axis = node.option("Axis")
    parts = _neighbours(node, shape, axis, [1] * len(node.outputs))
    axis %= len(shape)
    shrunk = shape[:axis] + shape[axis + 1 :] or (1,)
    return [(part, shrunk) for part, _ in parts]


OPERATOR = Slice()
