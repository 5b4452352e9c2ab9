"""RESIZE_BILINEAR: int8, in TFLite's fixed point with 10 bits a side (ResizeBilinearInteger)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.window import Pair

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

BITS = 10
ONE = 1 << BITS


@dataclass(frozen=True)
class ResizeBilinearAttributes(Attributes):
    """size: (height, width) of the output."""

    size: Pair = (1, 1)
    align_corners: bool = False
    half_pixel_centers: bool = False

    def places(self, axis: int, size: int) -> tuple[Array, Array, Array]:
        """(first, second, share of the second in 1/1024) for each place of the output's axis.

        Shares are below 0 or above one where a place lies outside the input, as in TFLite.
        """
        new = self.size[axis]
        scale = (ONE * size + new // 2) // new
        if self.align_corners and new > 1:
            scale = (ONE * (size - 1) + (new - 1) // 2) // (new - 1)
        at = np.arange(new, dtype=np.int64) * scale
        if self.half_pixel_centers:
            at = at + scale // 2 - ONE // 2
        first = np.maximum(_towards_zero(at), 0)
        second = np.minimum(_towards_zero(at + ONE - 1), size - 1)
        return first, second, at - ONE * first

    def both(self, shape: tuple[int, ...]) -> list[tuple[Array, Array, Array]]:
        """`places` for the rows and for the columns of an input [N, H, W, C]."""
        return [self.places(axis, n) for axis, n in enumerate(shape[1:3])]

    def struct(self, shape: tuple[int, ...]) -> Struct:
        """The C descriptor, for an input of that shape."""
        (top, bottom, down), (left, right, across) = self.both(shape)
        return Struct(
            "tk_resize_bilinear",
            {
                "top": Table("uint16_t", top.astype(np.uint16)),
                "bottom": Table("uint16_t", bottom.astype(np.uint16)),
                "left": Table("uint16_t", left.astype(np.uint16)),
                "right": Table("uint16_t", right.astype(np.uint16)),
                "down": Table("int16_t", down.astype(np.int16)),
                "across": Table("int16_t", across.astype(np.int16)),
                "batches": shape[0],
                "height": shape[1],
                "width": shape[2],
                "channels": shape[3],
                "output_height": self.size[0],
                "output_width": self.size[1],
            },
        )


@dataclass(frozen=True)
class ResizeBilinearGradAttributes(Attributes):
    """forward: of the operator; shape: of its input."""

    forward: ResizeBilinearAttributes
    shape: tuple[int, ...]


def _towards_zero(x: Array) -> Array:
    """x / 1024 as C divides."""
    return np.asarray(np.where(x >= 0, x // ONE, -(-x // ONE)))


class ResizeBilinear(Operator[ResizeBilinearAttributes]):
    kind = "resize_bilinear"
    tflite = ("RESIZE_BILINEAR",)
    note = "int8, constant size, align_corners or half_pixel_centers"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        shape = graph[op.inputs[0]].shape
        if len(shape) != 4:
            raise ModelError(f"layer {op.name}: {list(shape)} is not [N, H, W, C]")
        return ((shape[0], *self.attributes(op).size, shape[3]),)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        x = run[op.inputs[0]].astype(np.int64)
        (top, bottom, down), (left, right, across) = self.attributes(op).both(x.shape)
        down, across = down[:, None, None], across[:, None]
        total = (
            x[:, top][:, :, left] * (ONE - down) * (ONE - across)
            + x[:, bottom][:, :, left] * down * (ONE - across)
            + x[:, top][:, :, right] * (ONE - down) * across
            + x[:, bottom][:, :, right] * down * across
        )
        half = 1 << (2 * BITS - 1)
        rounded = np.where(total > 0, (total + half) >> (2 * BITS), -((half - total) >> (2 * BITS)))
        return (rounded.astype(np.int8),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], graph[op.outputs[0]]
        struct = self.attributes(op).struct(x.shape)
        return (Call("tk_resize_bilinear_s8", struct, (x.name, y.name)),)

    def gradient(self, op: Op, tape: Tape) -> None:
        x = tape.graph[op.inputs[0]]
        attributes = ResizeBilinearGradAttributes(self.attributes(op), x.shape)
        inputs = (tape.gradient_of(op.outputs[0]),)
        gradient = tape.emit("resize_bilinear_grad", op, inputs, x.shape, attributes)
        tape.contribute(x.name, gradient)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(2, 3))
        x = node.input()
        size = [int(n) for n in node.constant(1).flat]
        node.expect(
            len(size) == 2 and min(size) > 0 and max(*size, *x.shape) <= node.LARGEST,
            f"resizes {list(x.shape)} to {size}",
        )
        attributes = ResizeBilinearAttributes(
            (size[0], size[1]),
            bool(node.option("AlignCorners")),
            bool(node.option("HalfPixelCenters")),
        )
        node.expect(
            not (attributes.align_corners and attributes.half_pixel_centers),
            "align_corners and half_pixel_centers exclude each other",
        )
        op = node.op(self.kind, (x.name,), attributes)
        node.shape_output((x.shape[0], size[0], size[1], x.shape[-1]))
        node.expect_same_quantization(x, node.output())
        return (op,)


OPERATOR = ResizeBilinear()
