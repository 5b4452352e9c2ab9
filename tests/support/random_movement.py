"""Rules for random models (tests/support/random_models.py) whose operators move codes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.support.random_models import Current, Draw, Rule, _make, _move, _weights
from tinykit.ir import Array


def _axis(draw: Draw, now: Current) -> tuple[int, int]:
    """(axis, as a file may write it)"""
    rank = len(now.shape)
    axis = draw(st.integers(0, rank - 1))
    return axis, axis - rank if draw(st.booleans()) else axis


def _ints(now: Current, values: Array | list[int]) -> int:
    return now.graph.constant(np.array(values, np.int32))


def _same(draw: Draw, now: Current, shape: tuple[int, ...]) -> int:
    return _make(draw, now, shape, now.scale, now.zero_point)


def _join(draw: Draw, now: Current, parts: list[tuple[int, tuple[int, ...]]], axis: int) -> None:
    """All parts in another order, so that every one of them counts."""
    order = draw(st.permutations(parts))
    shape = list(order[0][1])
    shape[axis] = sum(part[1][axis] for part in order)
    y = _same(draw, now, tuple(shape))
    now.graph.operator("CONCATENATION", [i for i, _ in order], y, {"Axis": axis}, version=2)
    _move(now, y, tuple(shape), now.scale, now.zero_point)


def concatenation(draw: Draw, now: Current) -> None:
    axis, written = _axis(draw, now)
    inputs, total = [now.tensor], now.shape[axis]
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["itself", "constant"]))
        size = now.shape[axis] if kind == "itself" else draw(st.integers(1, 4))
        shape = (*now.shape[:axis], size, *now.shape[axis + 1 :])
        if kind == "itself":
            inputs.append(now.tensor)
        else:
            values = now.random.integers(-128, 128, shape).astype(np.int8)
            inputs.append(now.graph.constant(values, (now.scale,), (now.zero_point,)))
        total += size
    shape = (*now.shape[:axis], total, *now.shape[axis + 1 :])
    y = _same(draw, now, shape)
    now.graph.operator("CONCATENATION", inputs, y, {"Axis": written}, version=2)
    _move(now, y, shape, now.scale, now.zero_point)


def split(draw: Draw, now: Current) -> None:
    axis, written = _axis(draw, now)
    size = now.shape[axis]
    count = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0 and n < 9]))
    shape = (*now.shape[:axis], size // count, *now.shape[axis + 1 :])
    outputs = [_same(draw, now, shape) for _ in range(count)]
    dim = now.graph.constant(np.array(written, np.int32))
    now.graph.operator("SPLIT", [dim, now.tensor], outputs, {"NumSplits": count}, version=2)
    _join(draw, now, [(y, shape) for y in outputs], axis)


def split_v(draw: Draw, now: Current) -> None:
    axis, written = _axis(draw, now)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, now.shape[axis] - 1)), max_size=3)))
    ends = [0, *(c for c in cuts if c < now.shape[axis]), now.shape[axis]]
    sizes = [int(n) for n in np.diff(ends)]
    shapes = [(*now.shape[:axis], n, *now.shape[axis + 1 :]) for n in sizes]
    outputs = [_same(draw, now, shape) for shape in shapes]
    inputs = [now.tensor, _ints(now, sizes), now.graph.constant(np.array(written, np.int32))]
    now.graph.operator("SPLIT_V", inputs, outputs, {"NumSplits": len(sizes)}, version=2)
    _join(draw, now, list(zip(outputs, shapes, strict=True)), axis)


def slice_(draw: Draw, now: Current) -> None:
    begin = [draw(st.integers(0, n - 1)) for n in now.shape]
    size = [draw(st.integers(1, n - b)) for n, b in zip(now.shape, begin, strict=True)]
    written = [
        -1 if b + s == n and draw(st.booleans()) else s
        for n, b, s in zip(now.shape, begin, size, strict=True)
    ]
    y = _same(draw, now, tuple(size))
    inputs = [now.tensor, _ints(now, begin), _ints(now, written)]
    now.graph.operator("SLICE", inputs, y, version=3)
    _move(now, y, tuple(size), now.scale, now.zero_point)


def strided_slice(draw: Draw, now: Current) -> None:
    """Ends beyond the tensor, negative indices and steps, masks; never an empty result."""
    if len(now.shape) > 4:  # TFLM refuses them
        return slice_(draw, now)
    begins, ends, steps, masks, shape = [], [], [], [0, 0, 0], []
    for i, n in enumerate(now.shape):
        step = draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        begin, end = draw(st.integers(-n - 1, n)), draw(st.integers(-n - 2, n + 2))
        no_begin, no_end, shrink = (draw(st.integers(0, 3)) == 0 for _ in range(3))
        taken = slice(None if no_begin else begin, None if no_end else end, step).indices(n)
        if shrink and (no_begin or not -n <= begin < n):
            shrink = False
        if shrink:
            step = 1
        elif len(range(*taken)) == 0:
            no_begin = no_end = True
            taken = slice(None, None, step).indices(n)
        for k, bit in enumerate((no_begin, no_end, shrink)):
            masks[k] |= bit << i
        begins.append(begin)
        ends.append(end)
        steps.append(step)
        if not shrink:
            shape.append(len(range(*taken)))
    if not shape:  # TFLM has no scalars of rank 0 here
        return slice_(draw, now)
    options = dict(zip(("BeginMask", "EndMask", "ShrinkAxisMask"), masks, strict=True))
    y = _same(draw, now, tuple(shape))
    inputs = [now.tensor, *(_ints(now, values) for values in (begins, ends, steps))]
    now.graph.operator("STRIDED_SLICE", inputs, y, options, version=2)
    return _move(now, y, tuple(shape), now.scale, now.zero_point)


def pack(draw: Draw, now: Current) -> None:
    if len(now.shape) > 4:  # TFLM aborts on tensors of seven axes
        slice_(draw, now)
        return
    rank, count = len(now.shape) + 1, draw(st.integers(1, 3))
    axis = draw(st.integers(0, rank - 1))
    values = now.random.integers(-128, 128, now.shape).astype(np.int8)
    other = now.graph.constant(values, (now.scale,), (now.zero_point,))
    inputs = [now.tensor, *(draw(st.sampled_from([now.tensor, other])) for _ in range(count - 1))]
    shape = (*now.shape[:axis], count, *now.shape[axis:])
    y = _same(draw, now, shape)
    written = axis - rank if draw(st.booleans()) else axis
    options = {"Axis": written, "ValuesCount": count}
    now.graph.operator("PACK", inputs, y, options, version=2)
    _move(now, y, shape, now.scale, now.zero_point)


def unpack(draw: Draw, now: Current) -> None:
    axis, written = _axis(draw, now)
    shape = now.shape[:axis] + now.shape[axis + 1 :]
    count = now.shape[axis]
    if not shape or count > 9:
        return slice_(draw, now)
    outputs = [_same(draw, now, shape) for _ in range(count)]
    now.graph.operator("UNPACK", [now.tensor], outputs, {"Axis": written, "Num": count}, version=2)
    return _join(draw, now, [(y, shape) for y in outputs], draw(st.integers(0, len(shape) - 1)))


def gather(draw: Draw, now: Current) -> None:
    axis, written = _axis(draw, now)
    form = draw(st.sampled_from([(), (1,), (3,), (7,), (2, 2)]))
    if len(now.shape) + len(form) - 1 not in range(1, 5):
        form = (2,)
    indices = now.random.integers(0, now.shape[axis], form).astype(np.int32)
    shape = (*now.shape[:axis], *form, *now.shape[axis + 1 :])
    y = _same(draw, now, shape)
    inputs = [now.tensor, now.graph.constant(indices)]
    now.graph.operator("GATHER", inputs, y, {"Axis": written}, version=2)
    _move(now, y, shape, now.scale, now.zero_point)


def mirror_pad(draw: Draw, now: Current) -> None:
    mode = draw(st.integers(0, 1))
    amounts = [
        [draw(st.integers(0, min(3, n - 1 + mode))) for _ in range(2)] if i else [0, 0]
        for i, n in enumerate(now.shape)
    ]
    shape = tuple(n + a + b for n, (a, b) in zip(now.shape, amounts, strict=True))
    y = _same(draw, now, shape)
    now.graph.operator("MIRROR_PAD", [now.tensor, _ints(now, amounts)], y, {"Mode": mode})
    _move(now, y, shape, now.scale, now.zero_point)


def resize_nearest(draw: Draw, now: Current) -> None:
    _resize(draw, now, "RESIZE_NEAREST_NEIGHBOR")


def _resize(draw: Draw, now: Current, builtin: str) -> None:
    size = [draw(st.integers(1, 20)), draw(st.integers(1, 20))]
    corners, half = draw(st.sampled_from([(0, 0), (1, 0), (0, 1)]))
    shape = (now.shape[0], *size, now.shape[3])
    y = _same(draw, now, shape)
    options = {"AlignCorners": corners, "HalfPixelCenters": half}
    now.graph.operator(builtin, [now.tensor, _ints(now, size)], y, options, version=3)
    _move(now, y, shape, now.scale, now.zero_point)


MOVEMENT: tuple[Rule, ...] = (concatenation, split, split_v, slice_, strided_slice, pack, unpack,
                              gather, mirror_pad)  # fmt: skip


def resize_bilinear(draw: Draw, now: Current) -> None:
    _resize(draw, now, "RESIZE_BILINEAR")


def transpose_conv(draw: Draw, now: Current) -> None:
    _, height, width, channels = now.shape
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding, outputs = draw(st.integers(0, 1)), draw(st.integers(1, 9))
    fan_in = kernel[0] * kernel[1] * channels
    weights, bias, scale, zero = _weights(draw, now, (outputs, *kernel, channels), 0, fan_in)
    sizes = [
        n * s - draw(st.integers(0, s - 1)) if padding == 0 else (n - 1) * s + k
        for n, s, k in zip((height, width), stride, kernel, strict=True)
    ]
    shape = (1, *sizes, outputs)
    y = _make(draw, now, shape, scale, zero)
    options = {"Padding": padding, "StrideH": stride[0], "StrideW": stride[1]}
    inputs = [_ints(now, list(shape)), weights, now.tensor, *([bias] if bias >= 0 else [])]
    now.graph.operator("TRANSPOSE_CONV", inputs, y, options, version=3)
    _move(now, y, shape, scale, zero)


MAPS: tuple[Rule, ...] = (resize_nearest, resize_bilinear, transpose_conv)  # need height and width
