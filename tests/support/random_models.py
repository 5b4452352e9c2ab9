"""Random full-int8 models, one operator or a small chain, for property tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.support.tflite_writer import Graph, write
from tinykit.ir import Array

Draw = st.DrawFn
ACTIVATIONS = st.sampled_from([0, 0, 1, 2, 3])
HALVES = (0.4, 2 / 3, 2.0)  # 1 / 2.5, 1 / 1.5, 1 / 0.5
MOST_CHANNELS = 65535  # that a layer's descriptor holds
SMALLEST_CLAMPED = 1e-8  # below this scale TFLM refuses clamps: 6 / scale leaves int32
INT32 = np.iinfo(np.int32)


@dataclass
class Current:
    """The graph so far and the tensor that the next operator reads."""

    graph: Graph
    tensor: int
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    random: np.random.Generator
    seen: list[tuple[int, tuple[int, ...], float, int]] = field(default_factory=list)


@st.composite
def scales(draw: Draw, low: float = 1e-4, high: float = 10.0) -> float:
    """Log-uniform, or such a ratio that odd codes fall right between two others; exactly what
    float32 holds."""
    if low < HALVES[0] and HALVES[-1] < high and draw(st.booleans()):
        return float(np.float32(draw(st.sampled_from(HALVES))))
    exponent = draw(st.floats(np.log2(low), np.log2(high)))
    return float(np.float32(2.0**exponent))


# Few channels, or enough of them to fill every unrolled loop and block of the kernels and more.
CHANNELS = st.one_of(st.integers(1, 9), st.integers(1, 9), st.integers(10, 70))
FEW_CHANNELS = st.integers(1, 9)
ZERO_POINTS = st.one_of(st.sampled_from([-128, 127, 0]), st.integers(-128, 127))


def _activation(draw: Draw, scale: float) -> int:
    return draw(ACTIVATIONS) if scale > SMALLEST_CLAMPED else 0


def _make(draw: Draw, now: Current, shape: tuple[int, ...], scale: float, zero: int) -> int:
    return now.graph.tensor(shape, scale, zero)


def _move(now: Current, tensor: int, shape: tuple[int, ...], scale: float, zero: int) -> None:
    now.seen.append((now.tensor, now.shape, now.scale, now.zero_point))
    now.tensor, now.shape, now.scale, now.zero_point = tensor, shape, scale, zero


def _weights(
    draw: Draw, now: Current, shape: tuple[int, ...], axis: int, fan_in: int
) -> tuple[int, int, float, int]:
    """(weights, bias or -1, output scale, output zero point)."""
    channels = shape[axis]
    per_channel = draw(st.booleans())
    count = channels if per_channel else 1
    base = draw(scales(1e-5, 1.0))
    spread = draw(st.sampled_from([1.0, 1.0, 30.0, 1e4]))  # between the channels' scales
    scale = np.float32(base * spread ** now.random.uniform(-0.5, 0.5, count))
    style = draw(st.sampled_from(["uniform", "extreme", "small", "zero"]))
    low, high = {"uniform": (-127, 127), "extreme": (-127, 127), "small": (-3, 3),
                 "zero": (0, 0)}[style]  # fmt: skip
    values = now.random.integers(low, high + 1, shape)
    if style == "extreme":
        values = np.where(values < 0, -128, 127)
    weights = now.graph.constant(values.astype(np.int8), tuple(map(float, scale)), axis=axis)
    # The rescaling factor: usual ones bring the sums into int8, others are far too small or big.
    usual = 2.0 / (np.sqrt(fan_in) * 127)
    factor = usual * draw(st.sampled_from([1.0, 1.0, 0.3, 8.0, 1e-4, 200.0]))
    out_scale = float(np.float32(now.scale * base / factor))
    bias = -1
    if draw(st.booleans()):
        largest = draw(st.sampled_from([1000, 2**20]))
        terms = now.random.integers(-largest, largest + 1, channels)
        if draw(st.booleans()) and factor * spread < 0.1:
            terms[now.random.integers(channels)] = draw(st.sampled_from([INT32.min, INT32.max]))
        steps = tuple(float(np.float32(now.scale * s)) for s in scale)
        bias = now.graph.constant(terms.astype(np.int32), steps)
    return weights, bias, out_scale, draw(ZERO_POINTS)


def _spatial(draw: Draw, now: Current, dilated: bool) -> tuple[tuple[int, int], dict[str, int]]:
    """Kernel and options for a window that fits."""
    _, height, width, _ = now.shape
    padding = draw(st.integers(0, 1))
    limit = (height, width) if padding == 1 else (5, 5)
    kernel = (draw(st.integers(1, min(5, limit[0]))), draw(st.integers(1, min(5, limit[1]))))
    options = {"Padding": padding, "StrideH": draw(st.integers(1, 3)),
               "StrideW": draw(st.integers(1, 3))}  # fmt: skip
    if dilated:
        for name, k, size in zip("HW", kernel, limit, strict=True):
            most = 3 if padding == 0 else max(1, min(3, (size - 1) // max(1, k - 1)))
            options[f"Dilation{name}Factor"] = draw(st.integers(1, most))
    return kernel, options


def _window_output(now: Current, kernel: tuple[int, int], options: dict[str, int]) -> list[int]:
    sizes = []
    for name, size, k in zip("HW", now.shape[1:3], kernel, strict=True):
        stride, dilation = options[f"Stride{name}"], options.get(f"Dilation{name}Factor", 1)
        reach = (k - 1) * dilation + 1
        space = size if options["Padding"] == 0 else size - reach + 1
        sizes.append(-(-space // stride))
    return sizes


def conv2d(draw: Draw, now: Current) -> None:
    kernel, options = _spatial(draw, now, dilated=True)
    outputs, channels = draw(CHANNELS), now.shape[3]
    fan_in = kernel[0] * kernel[1] * channels
    weights, bias, scale, zero = _weights(draw, now, (outputs, *kernel, channels), 0, fan_in)
    shape = (1, *_window_output(now, kernel, options), outputs)
    y = _make(draw, now, shape, scale, zero)
    options["FusedActivationFunction"] = _activation(draw, scale)
    now.graph.operator("CONV_2D", [now.tensor, weights, bias], y, options, version=3)
    _move(now, y, shape, scale, zero)


def depthwise_conv2d(draw: Draw, now: Current) -> None:
    kernel, options = _spatial(draw, now, dilated=True)
    _depthwise(draw, now, kernel, options, draw(st.sampled_from([1, 1, 2, 3])))


def depthwise_3x3(draw: Draw, now: Current) -> None:
    """What depthwise layers mostly are; the kernels have ways of their own for it."""
    fits = min(now.shape[1:3]) >= 3
    options = {"Padding": draw(st.integers(0, 1)) if fits else 0,
               "StrideH": draw(st.integers(1, 3)), "StrideW": draw(st.integers(1, 3))}  # fmt: skip
    _depthwise(draw, now, (3, 3), options, 1)


def _depthwise(
    draw: Draw, now: Current, kernel: tuple[int, int], options: dict[str, int], multiplier: int
) -> None:
    outputs = now.shape[3] * multiplier
    weights, bias, scale, zero = _weights(
        draw, now, (1, *kernel, outputs), 3, kernel[0] * kernel[1]
    )
    shape = (1, *_window_output(now, kernel, options), outputs)
    y = _make(draw, now, shape, scale, zero)
    options |= {"FusedActivationFunction": _activation(draw, scale), "DepthMultiplier": multiplier}
    inputs = [now.tensor, weights, *([bias] if bias >= 0 else [])]  # TFLM's crashes on -1
    now.graph.operator("DEPTHWISE_CONV_2D", inputs, y, options, version=3)
    _move(now, y, shape, scale, zero)


def fully_connected(draw: Draw, now: Current) -> None:
    outputs = draw(CHANNELS)
    keep = draw(st.booleans())
    flatten = not keep and len(now.shape) > 2 and draw(st.booleans())
    flatten &= int(np.prod(now.shape)) <= MOST_CHANNELS
    channels = int(np.prod(now.shape)) if flatten else now.shape[-1]
    rows = int(np.prod(now.shape)) // channels
    weights, bias, scale, zero = _weights(draw, now, (outputs, channels), 0, channels)
    shape = (*now.shape[:-1], outputs) if keep else (rows, outputs)
    y = _make(draw, now, shape, scale, zero)
    options = {"FusedActivationFunction": _activation(draw, scale), "KeepNumDims": keep}
    now.graph.operator("FULLY_CONNECTED", [now.tensor, weights, bias], y, options, version=5)
    _move(now, y, shape, scale, zero)


def add(draw: Draw, now: Current) -> None:
    kind = draw(st.sampled_from(["constant", "channel", "scalar", "earlier", "itself"]))
    earlier = [item for item in now.seen if item[1] == now.shape]
    scale = now.scale
    if kind == "itself":
        other = now.tensor
    elif kind == "earlier" and earlier:
        other, _, scale, _ = draw(st.sampled_from(earlier))
    else:
        shapes = {"channel": now.shape[-1:], "scalar": (1,)}
        scale = float(np.float32(now.scale * draw(scales(1e-3, 1e3))))
        values = now.random.integers(-128, 128, shapes.get(kind, now.shape)).astype(np.int8)
        other = now.graph.constant(values, (scale,), (draw(ZERO_POINTS),))
    ratio = draw(st.one_of(st.just(1.0), scales(0.02, 50.0)))
    y_scale, zero = float(np.float32(max(scale, now.scale) * ratio)), draw(ZERO_POINTS)
    y = _make(draw, now, now.shape, y_scale, zero)
    inputs = [now.tensor, other] if draw(st.booleans()) else [other, now.tensor]
    now.graph.operator(
        "ADD", inputs, y, {"FusedActivationFunction": _activation(draw, y_scale)}, version=2
    )
    _move(now, y, now.shape, y_scale, zero)


def _pool(draw: Draw, now: Current, builtin: str) -> None:
    kernel, options = _spatial(draw, now, dilated=False)
    shape = (1, *_window_output(now, kernel, options), now.shape[3])
    y = _make(draw, now, shape, now.scale, now.zero_point)
    options |= {"FilterHeight": kernel[0], "FilterWidth": kernel[1],
                "FusedActivationFunction": _activation(draw, now.scale)}  # fmt: skip
    now.graph.operator(builtin, [now.tensor], y, options, version=2)
    _move(now, y, shape, now.scale, now.zero_point)


def average_pool2d(draw: Draw, now: Current) -> None:
    _pool(draw, now, "AVERAGE_POOL_2D")


def max_pool2d(draw: Draw, now: Current) -> None:
    _pool(draw, now, "MAX_POOL_2D")


def mean(draw: Draw, now: Current) -> None:
    rank = len(now.shape)
    first = draw(st.integers(1, rank - 1))
    last = draw(st.integers(first, rank - 1))
    axes = list(range(first, last + 1))
    keep = draw(st.booleans())
    given = [axis - rank if draw(st.booleans()) else axis for axis in axes]
    indices = now.graph.constant(np.array(given, np.int32))
    ratio = draw(st.one_of(st.just(1.0), scales(0.05, 20.0)))
    scale, zero = float(np.float32(now.scale * ratio)), draw(ZERO_POINTS)
    shape = tuple(1 if i in axes else n for i, n in enumerate(now.shape) if keep or i not in axes)
    y = _make(draw, now, shape, scale, zero)
    now.graph.operator("MEAN", [now.tensor, indices], y, {"KeepDims": keep}, version=2)
    _move(now, y, shape, scale, zero)


def pad(draw: Draw, now: Current) -> None:
    if len(now.shape) > 4:
        quantize(draw, now)
        return
    amounts = [(0, 0)] + [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in now.shape[1:]]
    shape = tuple(n + a + b for n, (a, b) in zip(now.shape, amounts, strict=True))
    inputs = [now.tensor, now.graph.constant(np.array(amounts, np.int32))]
    builtin = "PAD"
    if draw(st.booleans()):
        builtin = "PADV2"
        value = np.array([draw(st.integers(-128, 127))], np.int8)
        inputs.append(now.graph.constant(value, (now.scale,), (now.zero_point,)))
    y = _make(draw, now, shape, now.scale, now.zero_point)
    now.graph.operator(builtin, inputs, y, version=2)
    _move(now, y, shape, now.scale, now.zero_point)


def softmax(draw: Draw, now: Current) -> None:
    y = _make(draw, now, now.shape, 1 / 256, -128)
    beta = draw(st.sampled_from([1.0, 1.0, 0.5, 3.7]))
    now.graph.operator("SOFTMAX", [now.tensor], y, {"Beta": beta}, version=2)
    _move(now, y, now.shape, 1 / 256, -128)


def _requantized(draw: Draw, now: Current, builtin: str, same: bool) -> None:
    ratio = 1.0 if same else draw(st.one_of(st.just(1.0), scales(0.01, 100.0)))
    zero = now.zero_point if same else draw(ZERO_POINTS)
    scale = float(np.float32(now.scale * ratio))
    y = _make(draw, now, now.shape, scale, zero)
    now.graph.operator(builtin, [now.tensor], y, version=2)
    _move(now, y, now.shape, scale, zero)


def quantize(draw: Draw, now: Current) -> None:
    _requantized(draw, now, "QUANTIZE", same=False)


def relu(draw: Draw, now: Current) -> None:
    _requantized(draw, now, "RELU", same=draw(st.booleans()))


def relu6(draw: Draw, now: Current) -> None:
    _requantized(draw, now, "RELU6", same=True)  # TFLM's does not rescale


def reshape(draw: Draw, now: Current) -> None:
    size = int(np.prod(now.shape))
    shapes = [(1, size), (1, 1, size), (*now.shape[:1], 1, *now.shape[1:])[:4], now.shape]
    shape = draw(st.sampled_from([s for s in shapes if np.prod(s) == size]))
    target = now.graph.constant(np.array(shape, np.int32))
    y = _make(draw, now, shape, now.scale, now.zero_point)
    now.graph.operator("RESHAPE", [now.tensor, target], y, None)
    _move(now, y, shape, now.scale, now.zero_point)


def squeeze(draw: Draw, now: Current) -> None:
    """All axes of size 1, the batch too (or a RESHAPE, where nothing else is left)."""
    shape = tuple(n for n in now.shape if n != 1)
    if not shape:
        reshape(draw, now)
        return
    y = _make(draw, now, shape, now.scale, now.zero_point)
    now.graph.operator("SQUEEZE", [now.tensor], y)
    _move(now, y, shape, now.scale, now.zero_point)


def expand_dims(draw: Draw, now: Current) -> None:
    if len(now.shape) > 3:
        reshape(draw, now)
        return
    axis = draw(st.integers(0, len(now.shape)))
    shape = (*now.shape[:axis], 1, *now.shape[axis:])
    inputs = [now.tensor, now.graph.constant(np.array(axis, np.int32))]
    y = _make(draw, now, shape, now.scale, now.zero_point)
    now.graph.operator("EXPAND_DIMS", inputs, y, {})
    _move(now, y, shape, now.scale, now.zero_point)


def transpose(draw: Draw, now: Current) -> None:
    order = draw(st.permutations(range(len(now.shape))))
    shape = tuple(now.shape[i] for i in order)
    permutation = now.graph.constant(np.array(order, np.int32))
    y = _make(draw, now, shape, now.scale, now.zero_point)
    now.graph.operator("TRANSPOSE", [now.tensor, permutation], y, None, version=2)
    _move(now, y, shape, now.scale, now.zero_point)


def _path(draw: Draw, now: Current) -> None:
    """A few layers that keep the shape."""
    channels, same = now.shape[3], {"Padding": 0, "StrideH": 1, "StrideW": 1}
    for _ in range(draw(st.integers(0, 2))):
        kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        kind = draw(st.sampled_from(["conv", "depthwise", "average", "max", "quantize"]))
        if kind == "conv":
            fan_in = kernel[0] * kernel[1] * channels
            parts = _weights(draw, now, (channels, *kernel, channels), 0, fan_in)
            weights, bias, scale, zero = parts
            y = _make(draw, now, now.shape, scale, zero)
            options = same | {"FusedActivationFunction": _activation(draw, scale)}
            now.graph.operator("CONV_2D", [now.tensor, weights, bias], y, options, version=3)
            _move(now, y, now.shape, scale, zero)
        elif kind == "depthwise":
            _depthwise(draw, now, kernel, dict(same), 1)
        elif kind == "quantize":
            quantize(draw, now)
        else:
            y = _make(draw, now, now.shape, now.scale, now.zero_point)
            options = same | {"FilterHeight": kernel[0], "FilterWidth": kernel[1]}
            builtin = "AVERAGE_POOL_2D" if kind == "average" else "MAX_POOL_2D"
            now.graph.operator(builtin, [now.tensor], y, options, version=2)
            _move(now, y, now.shape, now.scale, now.zero_point)


def branches(draw: Draw, now: Current) -> None:
    """Two paths from one tensor, added up."""
    start = (now.tensor, now.shape, now.scale, now.zero_point)
    _path(draw, now)
    left, left_scale = now.tensor, now.scale
    now.tensor, now.shape, now.scale, now.zero_point = start
    _path(draw, now)
    ratio = draw(st.one_of(st.just(1.0), scales(0.02, 50.0)))
    scale, zero = float(np.float32(max(left_scale, now.scale) * ratio)), draw(ZERO_POINTS)
    y = _make(draw, now, now.shape, scale, zero)
    inputs = [left, now.tensor] if draw(st.booleans()) else [now.tensor, left]
    options = {"FusedActivationFunction": _activation(draw, scale)}
    now.graph.operator("ADD", inputs, y, options, version=2)
    _move(now, y, now.shape, scale, zero)


Rule = Callable[[Draw, Current], None]
# no batch needed
SHAPELESS = (fully_connected, add, softmax, quantize, relu, relu6, transpose, squeeze, expand_dims)
Change = Callable[[Graph, np.random.Generator], None]
# A new operator is one function here, or in another random_*.py of this folder, where the fuzzer
# finds it. Those that need height and width stand in that module's SPATIAL or MAPS.
SPATIAL: tuple[Rule, ...] = (conv2d, depthwise_conv2d, depthwise_3x3, average_pool2d, max_pool2d,
                             branches)  # fmt: skip
ANY_RANK: tuple[Rule, ...] = (fully_connected, add, mean, pad, softmax, quantize, relu, relu6,
                              reshape, squeeze, expand_dims, transpose)  # fmt: skip
RULES = SPATIAL + ANY_RANK


@dataclass(frozen=True)
class RandomModel:
    """A file and inputs for it."""

    content: bytes
    inputs: tuple[Array, ...]
    operators: tuple[str, ...]

    def __repr__(self) -> str:
        return f"RandomModel({', '.join(self.operators)}; input {list(self.inputs[0].shape)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # hypothesis asks for it
        printer.text(repr(self))


@st.composite
def models(
    draw: Draw,
    rules: tuple[Rule, ...] = RULES,
    length: int = 1,
    change: Change | None = None,
    largest: int = 9,
    spatial: tuple[Rule, ...] = SPATIAL,
) -> RandomModel:
    """A chain of up to `length` operators drawn from `rules`, with three random inputs.

    change: what is done to the file before it is written.  largest: height and width.
    spatial: the rules that need height and width.
    """
    graph = Graph()
    flat = not any(rule in spatial for rule in rules) and draw(st.booleans())
    if flat:
        shape: tuple[int, ...] = (1, *draw(st.lists(CHANNELS, min_size=1, max_size=2)))
    else:
        sizes = st.integers(1, largest)
        shape = (1, draw(sizes), draw(sizes), draw(CHANNELS if largest < 10 else FEW_CHANNELS))
    scale, zero = draw(scales()), draw(ZERO_POINTS)
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    x = graph.tensor(shape, scale, zero)
    now = Current(graph, x, shape, scale, zero, random)
    for _ in range(draw(st.integers(1, length))):
        possible = [
            r for r in rules
            if (len(now.shape) == 4 or r not in spatial)
            and (len(now.shape) > 1 or r is not mean)
            and (now.scale > SMALLEST_CLAMPED or r not in (relu, relu6))
            and (now.shape[-1] < 500 or r is not softmax)  # TFLM aborts when a sum exceeds 511
            and (now.shape[-1] <= MOST_CHANNELS or r is not fully_connected)
            and (now.shape[0] == 1 or r in SHAPELESS)
        ]  # fmt: skip
        if not possible or not now.shape:
            break
        draw(st.sampled_from(possible))(draw, now)
    graph.inputs, graph.outputs = [x], [now.tensor]
    if not graph.operators:
        reshape(draw, now)
        graph.outputs = [now.tensor]
    if change is not None:
        change(graph, random)
    uniform = random.integers(-128, 128, shape).astype(np.int8)
    extreme = np.where(random.integers(0, 2, shape) == 0, -128, 127).astype(np.int8)
    narrow = np.clip(random.normal(zero, 8, shape), -128, 127).astype(np.int8)
    names = tuple(operator.builtin for operator in graph.operators)
    return RandomModel(write(graph), (uniform, extreme, narrow), names)
