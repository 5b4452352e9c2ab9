"""GATHER with constant indices; MIRROR_PAD and RESIZE_NEAREST_NEIGHBOR as gathers axis by axis."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op, Tensor
from tinykit.ir.tensor import ITEM_BYTES
from tinykit.ops.base import Call, Operator, Struct, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.reshape import ReshapeAttributes

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


@dataclass(frozen=True)
class GatherAttributes(Attributes):
    """Place i along `axis` of the output is place indices[i] of the input."""

    axis: int = 0
    indices: tuple[int, ...] = ()

    def layout(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(outer, size, inner) of the input."""
        return math.prod(shape[: self.axis]), shape[self.axis], math.prod(shape[self.axis + 1 :])


class Gather(Operator[GatherAttributes]):
    kind = "gather"
    moves = True
    tflite = ("GATHER", "MIRROR_PAD", "RESIZE_NEAREST_NEIGHBOR", "TILE")
    int16 = ("RESIZE_NEAREST_NEIGHBOR",)
    note = "constant indices, any axis, no batch dimensions; one gather for each axis"
    golden = "TFLM; TILE: TensorFlow Lite"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        shape, (axis, indices) = graph[op.inputs[0]].shape, self._parts(op)
        if not 0 <= axis < len(shape) or not all(0 <= i < shape[axis] for i in indices):
            raise ModelError(f"layer {op.name}: indices outside axis {axis} of {list(shape)}")
        return ((*shape[:axis], len(indices), *shape[axis + 1 :]),)

    def _parts(self, op: Op) -> tuple[int, tuple[int, ...]]:
        attributes = self.attributes(op)
        return attributes.axis, attributes.indices

    def channel_flow(self, graph: Graph, op: Op) -> Literal["fixed", "through", "mixes"]:
        last = self.attributes(op).axis == len(graph[op.inputs[0]].shape) - 1
        return "fixed" if last else "through"

    def monotone(self, graph: Graph, op: Op) -> bool:
        return True

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        axis, indices = self._parts(op)
        return (np.ascontiguousarray(np.take(run[op.inputs[0]], indices, axis)),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        indices = np.array(self.attributes(op).indices, np.uint16)
        outer, size, inner = self.attributes(op).layout(x.shape)
        struct = Struct(
            "tk_gather",
            {
                "index": Table("uint16_t", indices),
                "outer": outer,
                "size": size,
                "count": len(indices),
                "inner": inner * ITEM_BYTES[x.dtype],  # bytes
            },
        )
        return (Call("tk_gather_s8", struct, (x.name, y.name)),)

    def gradient(self, op: Op, tape: Tape) -> None:
        shape = tape.graph[op.inputs[0]].shape
        gradient = tape.gradient_of(op.outputs[0])
        tape.contribute(
            op.inputs[0], tape.emit("gather_grad", op, (gradient,), shape, op.attributes)
        )

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        x = node.input()
        rules = {"GATHER": _gather, "MIRROR_PAD": _mirror_pad, "TILE": _tile}
        rule = rules.get(node.builtin, _resize)
        gathers, shape = rule(node, x.shape)
        node.shape_output(shape)
        y = node.output()
        node.expect_same_quantization(x, y)
        node.expect(shape == y.shape, f"makes {list(shape)}, declared {list(y.shape)}")
        return _chain(node, x, y, gathers)


def _chain(
    node: TfliteNode, x: Tensor, y: Tensor, gathers: list[GatherAttributes]
) -> tuple[Op, ...]:
    """The gathers one after the other, the smallest results first; then the output's shape."""
    gathers = [g for g in gathers if g.indices != tuple(range(x.shape[g.axis]))]
    gathers.sort(key=lambda g: len(g.indices) / x.shape[g.axis])
    ops, now = [], x
    for g in gathers:
        node.expect(max(now.shape[g.axis], len(g.indices)) <= node.LARGEST, "an axis is too long")
        shape = (*now.shape[: g.axis], len(g.indices), *now.shape[g.axis + 1 :])
        last = g is gathers[-1] and shape == y.shape
        made = y if last else replace(y, name=f"{y.name}/axis{g.axis}", shape=shape)
        name = node.name if last else f"{node.name}/axis{g.axis}"
        ops.append(Op("gather", name, (now.name,), (node.add(made),), g, layer=name))
        now = made
    if now is not y:
        ops.append(node.op("reshape", (now.name,), ReshapeAttributes(y.shape)))
    return tuple(ops)


Gathers = tuple[list[GatherAttributes], tuple[int, ...]]


def _gather(node: TfliteNode, shape: tuple[int, ...]) -> Gathers:
    node.expect_counts(range(2, 3))
    rank, axis, indices = len(shape), node.option("Axis"), node.constant(1)
    node.expect(node.option("BatchDims") == 0, "batch dimensions are not supported")
    node.expect(-rank <= axis < rank, f"no axis {axis} in {list(shape)}")
    axis %= rank
    flat = tuple(int(i) for i in indices.flat)
    node.expect(
        len(flat) > 0 and all(0 <= i < shape[axis] for i in flat),
        f"indices outside axis {axis} of {list(shape)}",
    )
    result = (*shape[:axis], *indices.shape, *shape[axis + 1 :]) or (1,)
    return [GatherAttributes(axis, flat)], result


def _mirror_pad(node: TfliteNode, shape: tuple[int, ...]) -> Gathers:
    node.expect_counts(range(2, 3))
    amounts, symmetric = node.constant(1), node.option("Mode")
    node.expect(amounts.shape == (len(shape), 2), f"paddings have shape {list(amounts.shape)}")
    gathers = []
    for axis, (n, (before, after)) in enumerate(zip(shape, amounts, strict=True)):
        node.expect(
            min(before, after) >= 0 and max(before, after) <= n - (not symmetric),
            f"paddings {int(before)}, {int(after)} of an axis of {n}",
        )
        mode = "symmetric" if symmetric else "reflect"
        places = np.pad(np.arange(n), (int(before), int(after)), mode=mode)  # type: ignore[call-overload]
        gathers.append(GatherAttributes(axis, tuple(int(i) for i in places)))
    return gathers, tuple(len(g.indices) for g in gathers)


def _tile(node: TfliteNode, shape: tuple[int, ...]) -> Gathers:
    node.expect_counts(range(2, 3))
    times = [int(n) for n in node.constant(1).flat]
    node.expect(
        len(times) == len(shape) and min(times) > 0
        and all(n * m <= node.LARGEST for n, m in zip(shape, times, strict=True)),
        f"{times} times {list(shape)}",
    )  # fmt: skip
    gathers = [
        GatherAttributes(axis, tuple(range(n)) * m)
        for axis, (n, m) in enumerate(zip(shape, times, strict=True))
    ]
    return gathers, tuple(len(g.indices) for g in gathers)


def _resize(node: TfliteNode, shape: tuple[int, ...]) -> Gathers:
    node.expect_counts(range(2, 3))
    node.expect(len(shape) == 4, f"resizes {list(shape)}; supported are four dimensions")
    sizes = [int(n) for n in node.constant(1).flat]
    node.expect(
        len(sizes) == 2 and min(sizes) > 0 and max(sizes) <= node.LARGEST, f"the new size {sizes}"
    )
    corners, half = bool(node.option("AlignCorners")), bool(node.option("HalfPixelCenters"))
    gathers = [
        GatherAttributes(axis, nearest(shape[axis], size, corners, half))
        for axis, size in zip((1, 2), sizes, strict=True)
    ]
    return gathers, (shape[0], *sizes, shape[3])


def nearest(size: int, new: int, align_corners: bool, half_pixel_centers: bool) -> tuple[int, ...]:
    """The places that TFLite's GetNearestNeighbor reads, in float32 as there."""
    float32 = np.float32
    scale = float32(size) / float32(new)
    if align_corners and new > 1:
        scale = float32(size - 1) / float32(new - 1)
    places = (np.arange(new, dtype=float32) + float32(0.5 * half_pixel_centers)) * scale
    places = np.floor(places + float32(0.5)) if align_corners else np.floor(places)
    return tuple(int(i) for i in np.clip(places, 0, size - 1))


OPERATOR = Gather()
