"""The arithmetic of docs/training.md, against exact fractions, float64 and the C runtime."""

from __future__ import annotations

import ctypes
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import training_kernels
from tests.support.networks import Network
from tests.support.training_kernels import Sanitized
from tinykit.codegen import compile_model
from tinykit.ir import Graph, Op, Tensor
from tinykit.ops.average_pool_grad import PoolGradAttributes
from tinykit.ops.evaluate import Run, Step, evaluate
from tinykit.ops.float_arithmetic import exp32, log32
from tinykit.ops.gradient_arithmetic import (
    DELTA_LIMIT,
    float_parts,
    gradient_scale,
    hash_base,
    hash_numbers,
    scaled_delta,
)
from tinykit.ops.registry import operator
from tinykit.ops.window import Window
from tinykit.training.plan import Optimizer, Plan, Update
from tinykit.training.rate import learning_rate

F = np.float32
EXACT = settings(deadline=None, derandomize=True, max_examples=300)


def test_exp_and_log_have_the_same_bits_in_c(sanitized: Sanitized) -> None:
    random = np.random.default_rng(0)
    edges = [0.0, -0.0, -86.9999, -87.0, -87.0001, -1e30, -1e-30, -0.5, -math.log(2)]
    below = np.array([*edges, *-np.exp(random.uniform(-20, 5, 3000))], np.float32)
    numpy = np.array([exp32(x) for x in below], np.float32)
    c = sanitized.call(training_kernels.call_scalars, "tk_exp", below)
    np.testing.assert_array_equal(c.view(np.uint32), numpy.view(np.uint32))
    real = np.exp(below.astype(np.float64))
    np.testing.assert_allclose(numpy[below >= -87], real[below >= -87], rtol=3e-7)
    assert (numpy[below < -87] == 0).all()

    above = np.array([1.0, 2.0, 1.41421356, 1.4142137, 4095.0, *np.exp(random.uniform(0, 9, 3000))])
    positive = above.astype(np.float32)
    numpy = np.array([log32(x) for x in positive], np.float32)
    c = sanitized.call(training_kernels.call_scalars, "tk_log", positive)
    np.testing.assert_array_equal(c.view(np.uint32), numpy.view(np.uint32))
    real = np.log(positive.astype(np.float64))
    assert (np.abs(numpy - real) <= 1e-6 * (1 + np.abs(real))).all()


class Rate(ctypes.Structure):
    _fields_ = (("mantissa", ctypes.c_int32), ("shift", ctypes.c_int32))


@given(bits=st.integers(0, 0x7F7FFFFF))
@EXACT
def test_float_parts_are_exact_and_the_same_in_c(bits: int, kernel_library: ctypes.CDLL) -> None:
    value = float(np.uint32(bits).view(np.float32))
    mantissa, shift = float_parts(value)
    assert 0 <= mantissa < 2**24
    assert 1 <= shift <= 62
    if 2.0**-39 <= value < 2.0**23:
        assert Fraction(mantissa, 2**shift) == Fraction(value)
    elif value < 2.0**-39:
        assert mantissa == 0
    else:
        assert (mantissa, shift) == (0xFFFFFF, 1)
    function = kernel_library.tk_rate_of
    function.restype, function.argtypes = Rate, (ctypes.c_float,)
    rate = function(value)
    assert (rate.mantissa, rate.shift) == (mantissa, shift)


@given(
    acc=st.integers(-(2**31), 2**31 - 1),
    rate=st.floats(-45, 24).map(lambda e: float(F(2.0**e))),
)
@EXACT
def test_rounding_to_nearest_is_exact(acc: int, rate: float) -> None:
    delta = int(scaled_delta(np.array([acc]), rate, None)[0])
    mantissa, shift = float_parts(rate)
    exact = acc * Fraction(mantissa, 2**shift)
    nearest = math.floor(exact + Fraction(1, 2))
    assert delta == max(-DELTA_LIMIT, min(DELTA_LIMIT, nearest))


@given(
    acc=st.integers(-(2**24), 2**24),
    rate=st.floats(-30, -8).map(lambda e: float(F(2.0**e))),
    seed=st.integers(0, 2**32 - 1),
)
@settings(EXACT, max_examples=60)
def test_stochastic_rounding_has_no_bias(acc: int, rate: float, seed: int) -> None:
    """Over indices, steps and seeds: the mean of n draws lies within 5 sigma of the product."""
    n = 4096
    draws = np.concatenate(
        [hash_numbers(hash_base(s, step, 3), n // 4) for s, step in
         ((seed, 0), (seed, 1), ((seed + 1) % 2**32, 0), (seed, 77))]
    )  # fmt: skip
    deltas = scaled_delta(np.full(n, acc), rate, draws)
    exact = acc * rate
    fraction = exact - math.floor(exact)
    assert set(np.unique(deltas)) <= {math.floor(exact), math.floor(exact) + 1}
    sigma = math.sqrt(fraction * (1 - fraction) / n)
    assert abs(float(deltas.mean()) - exact) <= 5 * sigma + 2.0**-24 * abs(exact) + 1e-9


def test_runs_of_neighbouring_seeds_share_no_numbers() -> None:
    streams = [set(hash_numbers(hash_base(seed, 0, 0), 1000).tolist()) for seed in range(6)]
    for i, first in enumerate(streams):
        for second in streams[i + 1 :]:
            assert len(first & second) <= 2


# --- updates --------------------------------------------------------------------------------------


def dense_update(master: str, rounding: str, accumulate: int = 1) -> tuple[Graph, Op, Plan]:
    """A classifier of 64 inputs and 8 classes, and the op that updates its weights."""
    net = Network((1, 1, 1, 64), seed=30, input_zero_point=-11)
    output = net.dense(net.flatten("x"), 8)
    optimizer = Optimizer(
        learning_rate=0.05, master=master, rounding=rounding, accumulate=accumulate
    )
    plan = Plan(optimizer=optimizer, update=(Update(layers="head", bias=True, weights=1.0),))
    samples = net.inputs(4)
    compiled = compile_model(
        net.graph(output), name="n", plan=plan, samples=samples, labels=[0, 1, 2, 3]
    )
    assert compiled.train is not None
    graph = compiled.train.graph
    return graph, next(op for op in graph.ops if op.kind == "conv2d_update"), plan


@pytest.mark.parametrize(
    ("master", "rounding"), [("int16", "nearest"), ("int16", "stochastic"), ("int8", "stochastic")]
)
def test_noise_does_not_shrink_weights(master: str, rounding: str) -> None:
    """50 updates by zero-mean noise of a third of a step leave sum |w| where float64 has it.

    Truncation towards zero loses 36 to 42 % of it here (Tiny Training Engine's update).
    """
    graph, op, _ = dense_update(master, rounding)
    random = np.random.default_rng(5)
    weights = op.updates[0]
    values = {n: t.data for n, t in graph.tensors.items() if t.data is not None}
    scales = np.array(graph[weights].quant.scale)[:, None]
    real = values[weights].astype(np.float64)
    for index in range(50):
        gradient = np.rint(random.normal(0, 1500, graph[op.inputs[0]].shape)).astype(np.int16)
        x = random.integers(-128, 128, graph[op.inputs[1]].shape).astype(np.int8)
        run = Run(graph, {**values, op.inputs[0]: gradient, op.inputs[1]: x}, Step(index=index))
        operator(op.kind).evaluate(op, run)
        direction = run.gradients[weights] / scales
        rate = float(F(0.33 / np.sqrt((direction**2).mean())))
        run.step.rate = rate
        updated = operator(op.kind).evaluate(op, run)
        values.update(zip(op.updates, updated, strict=True))
        real = np.clip(real - rate * direction, -127, 127)
    total = np.abs(values[weights].astype(np.float64)).sum()
    assert total == pytest.approx(np.abs(real).sum(), rel=0.01)


def test_update_saturates_and_never_wraps() -> None:
    for master in ("int8", "int16"):
        graph, op, _ = dense_update(master, "nearest")
        values = {n: t.data for n, t in graph.tensors.items() if t.data is not None}
        for sign, limit in ((1, -127), (-1, 127)):
            gradient = np.full(graph[op.inputs[0]].shape, sign * 32767, np.int16)
            x = np.full(graph[op.inputs[1]].shape, 127, np.int8)
            step = Step(rate=1e6)
            run = Run(graph, {**values, op.inputs[0]: gradient, op.inputs[1]: x}, step)
            updated = operator(op.kind).evaluate(op, run)[0]
            assert (updated == limit).all()


@pytest.mark.parametrize(
    ("schedule", "shape"),
    [
        ("constant", lambda done: 1.0),
        ("linear", lambda done: 1 - done),
        ("cosine", lambda done: (1 + math.cos(math.pi * done)) / 2),
    ],
)
def test_learning_rate_schedules(schedule: str, shape: object) -> None:
    assert callable(shape)
    optimizer = Optimizer(learning_rate=0.3, schedule=schedule, warmup_steps=5, total_steps=40)
    for step in range(60):
        expected = 0.3 * shape(min(step, 40) / 40) * min(1.0, (step + 1) / 5)
        assert learning_rate(optimizer, step) == pytest.approx(expected, abs=1e-4)


# --- single operators -----------------------------------------------------------------------------


def gradient_graph(op: Op, inputs: dict[str, Tensor], output: Tensor) -> Graph:
    tensors = {**inputs, output.name: output}
    return Graph("one", tensors, (op,), tuple(inputs), (output.name,))


def int16(name: str, shape: tuple[int, ...], exponent: int) -> Tensor:
    return Tensor(name, shape, "int16", gradient_scale(exponent))


@given(exponents=st.tuples(*[st.integers(-60, 5)] * 2), seed=st.integers(0, 1000))
@settings(EXACT, max_examples=100)
def test_gradients_of_any_exponents_add(exponents: tuple[int, int], seed: int) -> None:
    """A dead branch's exponent may lie far from the other's."""
    random = np.random.default_rng(seed)
    a, b = (int16(name, (8,), e) for name, e in zip("ab", exponents, strict=True))
    x = [random.integers(-16384, 16384, 8).astype(np.int16) for _ in range(2)]
    result = int16("y", (8,), max(exponents))
    op = Op("gradient_add", "sum", ("a", "b"), ("y",), phase="backward")
    y = evaluate(gradient_graph(op, {"a": a, "b": b}, result), {"a": x[0], "b": x[1]})["y"]
    exact = sum(v.astype(np.float64) * 2.0**e for v, e in zip(x, exponents, strict=True))
    assert (np.abs(y - exact / 2.0 ** max(exponents)) <= 1).all()


@pytest.mark.parametrize("pixels", [9, 1000, 9216, 40000])
def test_gradient_of_large_averages_is_not_rounded_away(pixels: int) -> None:
    x = int16("y", (1, pixels, 1), -14 - round(math.log2(pixels)))
    attributes = PoolGradAttributes(Window((pixels, 1)), (pixels, 1), x.shape)
    op = Op("average_pool_grad", "mean", ("g",), ("y",), attributes, phase="backward")
    graph = gradient_graph(op, {"g": int16("g", (1, 1), -14)}, x)
    y = evaluate(graph, {"g": np.array([[16000]], np.int16)})["y"]
    total = y.astype(np.float64).sum() * x.quant.scale0
    assert total == pytest.approx(16000 * 2.0**-14, rel=2e-3)


def test_max_pool_gradient_goes_to_the_first_of_equals() -> None:
    x = np.array([[3, 7], [7, 7]], np.int8).reshape(1, 2, 2, 1)
    source = Tensor("x", x.shape, "int8", gradient_scale(0))
    attributes = PoolGradAttributes(Window((2, 2)), (2, 2), x.shape)
    op = Op("max_pool_grad", "pool", ("g", "x"), ("y",), attributes, phase="backward")
    graph = gradient_graph(op, {"g": int16("g", (1, 1, 1, 1), 0), "x": source},
                           int16("y", x.shape, 0))  # fmt: skip
    y = evaluate(graph, {"g": np.array([[[[5]]]], np.int16), "x": x})["y"]
    assert y.ravel().tolist() == [0, 5, 0, 0]


def test_saturation_is_counted(sanitized: Sanitized) -> None:
    acc = np.array([32767, 16384, 16383, -16384, -16385, 0], np.int16)
    expected = [32767, 32767, 32766, -32768, -32768, 0]
    op = Op("gradient_add", "sum", ("a", "b"), ("y",), phase="backward")
    inputs = {name: int16(name, acc.shape, 0) for name in "ab"}
    graph = gradient_graph(op, inputs, int16("y", acc.shape, 0))
    values, step = {"a": acc, "b": acc}, Step()
    assert evaluate(graph, values, step=step)["y"].tolist() == expected
    assert step.saturations == 3
    (result,), count = sanitized.call(training_kernels.single_op, graph, op, values, Step())
    assert result.tolist() == expected
    assert count == 3
