"""Single backward and update ops on values that no forward pass would produce."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op
from tinykit.ops.evaluate import Run, Step
from tinykit.ops.gradient_arithmetic import BIAS_LIMIT, gradient_scale
from tinykit.ops.optimizer_arithmetic import STATE_LIMIT
from tinykit.ops.registry import operator
from tinykit.ops.update import is_state
from tinykit.training.calibrate import keeps_exponent


def extreme(random: np.random.Generator, shape: tuple[int, ...], dtype: str, low: int) -> Array:
    """Random values of a type, many of them at its ends; int8 begins at `low`."""
    info = np.iinfo(dtype)
    first, last = (low, 127) if dtype == "int8" else (int(info.min), int(info.max))
    style = random.integers(4)
    values = random.integers(first, last, shape, endpoint=True)
    if style == 0:
        values = np.full(shape, random.choice([first, last]))
    elif style == 1:
        values = random.choice([first, last], shape)
    elif style == 2:
        values = random.integers(max(first, -3), 3, shape, endpoint=True)
    return np.asarray(values.astype(dtype))


@dataclass(frozen=True)
class Case:
    """An op with its inputs, and what NumPy makes of them."""

    graph: Graph
    op: Op
    values: dict[str, Array]
    step: Step
    results: tuple[Array, ...]
    saturations: int

    def check(self, results: list[Array], saturations: int) -> None:
        names = (*self.op.outputs, *self.op.updates)
        for name, result, expected in zip(names, results, self.results, strict=True):
            message = f"{self.op.kind}: {name}"
            np.testing.assert_array_equal(result.ravel(), expected.ravel(), message)
        assert saturations == self.saturations, self.op.kind


def cases(training: Graph, random: np.random.Generator) -> Iterator[Case]:
    """One for each backward and update op; exponents moved so that much saturates."""
    for op in training.ops:
        if op.phase not in ("backward", "update") or op.kind == "reshape":
            continue
        graph = training.with_tensors(
            replace(training[name], quantization=gradient_scale(exponent))
            for name in op.outputs
            if not keeps_exponent(op)
            for exponent in [training[name].quant.exponent + int(random.integers(-14, 40))]
        )
        values = {}
        for name in op.reads:
            tensor = graph[name]
            trained = tensor.storage == "parameters"
            low = -127 if trained and not is_state(name) else -128
            values[name] = extreme(random, tensor.shape, tensor.dtype, low)
            if name.endswith("/deviation"):
                values[name] = np.abs(np.maximum(values[name], -STATE_LIMIT))
            if name.endswith("/momentum"):
                values[name] = np.maximum(values[name], -STATE_LIMIT)
            if tensor.dtype == "int32":
                values[name] = np.clip(values[name], -BIAS_LIMIT, BIAS_LIMIT)
        index = int(random.integers(0, 2**31))
        given = Step(
            index=index,
            updates=min(index, int(random.choice([0, 1, 5, 1000, 2**31]))),
            rate=float(np.float32(10.0 ** random.uniform(-12, 3))),
            learning_rate=float(np.float32(10.0 ** random.uniform(-12, 3))),
            normalisation=2.0 ** int(random.integers(-20, 1)),
            first=bool(random.integers(2)),
        )
        step = replace(given)
        try:
            results = operator(op.kind).evaluate(op, Run(graph, dict(values), step))
        except PlanError:  # an exponent that calibration would never choose
            continue
        yield Case(graph, op, values, given, results, step.saturations)
