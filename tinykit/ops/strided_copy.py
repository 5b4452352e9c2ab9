"""The walk of tk_copy: a box of elements from one tensor to another, by strides in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tinykit.ir import Tensor
from tinykit.ops.base import Call, Struct, Table

LARGEST_RANK = 5  # axes that the kernel walks


class Axis(NamedTuple):
    """size: steps along the axis; read, write: elements between neighbours in input and output."""

    size: int
    read: int
    write: int


def strides(shape: tuple[int, ...]) -> list[int]:
    """Elements between neighbours along each axis of a plain tensor."""
    steps = [1]
    for size in reversed(shape[1:]):
        steps.insert(0, steps[0] * size)
    return steps[len(steps) - len(shape) :]


def walk(axes: Sequence[Axis]) -> list[Axis]:
    """As few axes as describe the same walk: those of size 1 dropped, neighbours joined."""
    joined: list[Axis] = []
    for axis in axes:
        if axis.size == 1:
            continue
        size, read, write = axis
        if joined and joined[-1][1:] == (size * read, size * write):
            joined[-1] = Axis(joined[-1].size * size, read, write)
        else:
            joined.append(axis)
    return joined


def copy_call(
    x: Tensor,
    y: Tensor,
    axes: Sequence[Axis],
    first: tuple[int, int] = (0, 0),
    filled: int | None = None,
) -> Call:
    """Copy elements from x to y (int8 or int16).

    first: where the walk begins in x and in y; filled: what y is filled with before.
    """
    short = walk(axes)
    padded = [Axis(1, 0, 0)] * (LARGEST_RANK - len(short)) + short
    sizes, reads, writes = (np.array(column) for column in zip(*padded, strict=True))
    struct = Struct(
        "tk_copy",
        {
            "size": Table("uint32_t", sizes.astype(np.uint32)),
            "read": Table("int32_t", reads.astype(np.int32)),
            "write": Table("int32_t", writes.astype(np.int32)),
            "read_first": first[0],
            "write_first": first[1],
            "filled": 0 if filled is None else y.size,
            "value": filled or 0,
        },
    )
    function = {"int8": "tk_copy_s8", "int16": "tk_copy_s16"}[x.dtype]
    return Call(function, struct, (x.name, y.name))
