"""Broadcasting as kernels do it: the fewest axes along which all tensors step evenly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinykit.errors import ModelError
from tinykit.ops.base import Table

AXES = 5  # that kernels have, ones in front
Shape = tuple[int, ...]


def broadcast_shape(*shapes: Shape) -> Shape:
    """NumPy's rule; ModelError where it has no answer."""
    try:
        return tuple(int(n) for n in np.broadcast_shapes(*shapes))
    except ValueError:
        raise ModelError(f"shapes {' and '.join(str(list(s)) for s in shapes)} differ") from None


def strides(shape: Shape, full: Shape) -> list[int]:
    """How far neighbours along each axis of `full` lie apart in a tensor; 0 where it repeats."""
    padded = (1,) * (len(full) - len(shape)) + shape
    steps, step = [0] * len(full), 1
    for axis in reversed(range(len(full))):
        if padded[axis] != 1:
            steps[axis] = step
        step *= padded[axis]
    return steps


def merged_axes(
    full: Shape, tensors: Sequence[Sequence[int]], among: Sequence[int] | None = None
) -> tuple[list[int], list[list[int]]]:
    """(sizes, strides of each tensor), AXES of each: neighbouring axes that step as one are one.

    among: the axes that count (all).  ModelError where AXES are not enough.
    """
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in tensors]
    for axis in range(len(full)) if among is None else among:
        size, step = full[axis], [t[axis] for t in tensors]
        if size == 1:
            continue
        if sizes and all(old[-1] == new * size for old, new in zip(steps, step, strict=True)):
            sizes[-1] *= size
            for old, new in zip(steps, step, strict=True):
                old[-1] = new
            continue
        sizes.append(size)
        for old, new in zip(steps, step, strict=True):
            old.append(new)
    missing = AXES - len(sizes)
    if missing < 0:
        raise ModelError(f"broadcasting to {list(full)} needs more than {AXES} axes")
    return [1] * missing + sizes, [[0] * missing + s for s in steps]


def table(values: Sequence[int]) -> Table:
    return Table("uint32_t", np.array(values, np.uint32))
