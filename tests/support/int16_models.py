"""Random int16x8 models: the rules for int8 ones, on graphs whose activations become int16."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from tests.support import random_elementwise as elementwise
from tests.support import random_models as basic
from tests.support import random_movement as movement
from tests.support import random_products as products
from tests.support.random_models import Current, Draw, RandomModel, Rule, scales
from tests.support.tflite_writer import Graph, write
from tinykit.ir import Array

UNIT = 1 / 32768  # the scale of what SOFTMAX, LOGISTIC and TANH make
BIASES = ("int64", "int64", "int32")


@dataclass
class Int16Graph(Graph):
    """Tensors are INT16 with zero point 0; so are constants with a zero point (all but weights and
    biases), which become as many times larger. Biases are of `bias`."""

    bias: str = "int64"
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    largest: int = 0  # sum that the last weights can lead to

    def tensor(  # type: ignore[override]
        self, shape: tuple[int, ...], scale: float | None = 1.0, zero_point: int = 0,
        type: str = "INT16",
    ) -> int:  # fmt: skip
        return super().tensor(shape, scale, 0, type)

    def constant(
        self, data: Array, scale: tuple[float, ...] = (),
        zero_point: tuple[int, ...] | None = None, axis: int = 0, name: str = "",
    ) -> int:  # fmt: skip
        if data.dtype == np.int8 and zero_point is not None:
            fraction = self.random.integers(0, 256, data.shape)
            return super().constant((data * 256 + fraction).astype(np.int16), scale, (0,))
        if data.dtype == np.int32 and scale:
            data = data.astype(np.int64)
            if self.bias == "int32" and self.largest + int(np.abs(data).max()) < 2**31:
                data = data.astype(np.int32)
            else:
                data *= int(2 ** self.random.integers(0, 15))
        elif data.dtype == np.int8:
            axes = tuple(i for i in range(data.ndim) if i != axis)
            self.largest = 2**15 * int(np.abs(data.astype(np.int64)).sum(axis=axes).max())
        return super().constant(data, scale, zero_point, axis, name)


def mul(draw: Draw, now: Current) -> None:
    """By a constant of the same shape, or of one that repeats."""
    shape = draw(st.sampled_from([now.shape, now.shape[-1:], (1,)]))
    scale = float(np.float32(now.scale * draw(scales(0.05, 20.0))))
    values = now.random.integers(-128, 128, shape).astype(np.int8)
    other = now.graph.constant(values, (scale,), (0,))
    y_scale = float(np.float32(now.scale * scale * 2**15 * draw(scales(0.01, 4.0))))
    y = now.graph.tensor(now.shape, y_scale)
    inputs = [now.tensor, other] if draw(st.booleans()) else [other, now.tensor]
    options = {"FusedActivationFunction": basic._activation(draw, y_scale)}
    now.graph.operator("MUL", inputs, y, options, version=2)
    basic._move(now, y, now.shape, y_scale, 0)


def softmax(draw: Draw, now: Current) -> None:
    y = now.graph.tensor(now.shape, UNIT)
    beta = draw(st.sampled_from([1.0, 1.0, 0.5, 3.7]))
    now.graph.operator("SOFTMAX", [now.tensor], y, {"Beta": beta}, version=2)
    basic._move(now, y, now.shape, UNIT, 0)


def logistic(draw: Draw, now: Current) -> None:
    _curve(draw, now, "LOGISTIC")


def tanh(draw: Draw, now: Current) -> None:
    _curve(draw, now, "TANH")


def _curve(draw: Draw, now: Current, builtin: str) -> None:
    """Rescaled before, now and then to a power of two, of which TFLM knows some."""
    exponent = draw(st.integers(-14, -9))
    scale = float(np.float32(draw(st.one_of(scales(1e-6, 2.0), st.just(2.0**exponent)))))
    x = now.graph.tensor(now.shape, scale)
    now.graph.operator("QUANTIZE", [now.tensor], x)
    y = now.graph.tensor(now.shape, UNIT)
    now.graph.operator(builtin, [x], y)
    basic._move(now, y, now.shape, UNIT, 0)


def leaky_relu(draw: Draw, now: Current) -> None:
    alpha = float(np.float32(draw(st.sampled_from([0.0, 0.1, 0.3, 1.5]))))
    elementwise._unary(draw, now, "LEAKY_RELU", None, {"Alpha": alpha})


def squared_difference(draw: Draw, now: Current) -> None:
    largest = now.scale * 2**15
    elementwise.squared_difference(draw, now)
    _larger(now, largest)


def batch_matmul(draw: Draw, now: Current) -> None:
    products.batch_matmul(draw, now)
    _larger(now, 170.0)


def _larger(now: Current, factor: float) -> None:
    """A larger scale for the last result, where that for int8 would let most of it saturate."""
    now.scale = float(np.float32(now.scale * factor))
    now.graph.tensors[now.tensor].scale = (now.scale,)


def through_int8(draw: Draw, now: Current) -> None:
    """To int8 and back, both with scales of their own."""
    scale = float(np.float32(now.scale * 256 * draw(scales(0.3, 3.0))))
    zero = draw(basic.ZERO_POINTS)
    narrow = Graph.tensor(now.graph, now.shape, scale, zero)
    now.graph.operator("QUANTIZE", [now.tensor], narrow)
    back = float(np.float32(scale / 256 * draw(scales(0.5, 2.0))))
    y = now.graph.tensor(now.shape, back)
    now.graph.operator("QUANTIZE", [narrow], y)
    basic._move(now, y, now.shape, back, 0)


SPATIAL: tuple[Rule, ...] = (*basic.SPATIAL, movement.resize_nearest, movement.transpose_conv)
WIDE = (  # int64 biases only
    basic.depthwise_conv2d, basic.depthwise_3x3, basic.branches, movement.transpose_conv,
)  # fmt: skip
RULES: tuple[Rule, ...] = (
    *SPATIAL, basic.fully_connected, basic.add, basic.mean, basic.pad, softmax, basic.quantize,
    basic.relu, basic.relu6, basic.reshape, basic.expand_dims, basic.transpose,
    movement.concatenation, movement.split, movement.split_v, movement.slice_,
    movement.strided_slice, movement.pack, movement.unpack, mul, elementwise.sub,
    elementwise.minimum, elementwise.maximum, elementwise.total, logistic, tanh, leaky_relu,
    squared_difference, batch_matmul, through_int8,
)  # fmt: skip


@st.composite
def int16_models(draw: Draw, rules: tuple[Rule, ...] = RULES, length: int = 1) -> RandomModel:
    """A chain of up to `length` operators drawn from `rules`, with three random inputs."""
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    graph = Int16Graph(random=random)
    sizes = st.integers(1, 9)
    shape = (1, draw(sizes), draw(sizes), draw(basic.CHANNELS))
    if not any(rule in SPATIAL for rule in rules) and draw(st.booleans()):
        shape = (1, *draw(st.lists(basic.CHANNELS, min_size=1, max_size=2)))
    scale = draw(scales(1e-5, 1e-2))
    x = graph.tensor(shape, scale)
    now = Current(graph, x, shape, scale, 0, random)
    for _ in range(draw(st.integers(1, length))):
        possible = [rule for rule in rules if fits(rule, now)]
        if possible:
            rule = draw(st.sampled_from(possible))
            graph.bias = "int64" if rule in WIDE else draw(st.sampled_from(BIASES))
            rule(draw, now)
            now.zero_point = 0
    if not graph.operators:
        basic.reshape(draw, now)
    graph.inputs, graph.outputs = [x], [now.tensor]
    codes = random.integers(-(2**15), 2**15, shape)
    inputs = (codes, np.where(codes < 0, -(2**15), 2**15 - 1), codes >> 6)
    names = tuple(operator.builtin for operator in graph.operators)
    return RandomModel(write(graph), tuple(x.astype(np.int16) for x in inputs), names)


def fits(rule: Rule, now: Current) -> bool:
    """Whether the rule can go on from here."""
    spatial = len(now.shape) == 4 and now.shape[0] == 1
    return (
        (spatial or rule not in SPATIAL)
        and (len(now.shape) > 1 or rule not in (basic.mean, elementwise.total))
        and (now.shape[0] == 1 or rule in basic.SHAPELESS)
        and (now.scale > basic.SMALLEST_CLAMPED or rule not in (basic.relu, basic.relu6))
        and (now.scale < 0.5 or rule is not softmax)  # no logits are like that: refused
        and bool(now.shape)
    )
