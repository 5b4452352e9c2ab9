"""Random networks, plans and optimizers: NumPy and C train to the same bits.

The C runs under address and undefined-behaviour sanitizers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import training_kernels
from tests.support.random_networks import Training, extreme, trainings
from tests.support.training_kernels import Sanitized
from tinykit.errors import PlanError
from tinykit.ir import Tensor
from tinykit.ops.evaluate import Run, Step, evaluate
from tinykit.ops.gradient_arithmetic import BIAS_LIMIT, gradient_scale
from tinykit.ops.registry import operator
from tinykit.passes import simplify
from tinykit.training.autodiff import logits_of
from tinykit.training.reference import ReferenceTrainer

SETTINGS = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@settings(SETTINGS, max_examples=80)
@given(training=trainings(), data=st.data())
def test_steps_are_equal_bit_for_bit(
    sanitized: Sanitized, training: Training, data: st.DataObject
) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    samples = []
    for i in range(4):
        sample = training.samples[i]
        if data.draw(st.booleans()):
            sample = extreme(random, sample.shape, "int8", -128)
        label = data.draw(st.sampled_from([0, training.classes - 1]))
        samples.append((sample, label, data.draw(st.integers(0, 3)) == 0))

    history = sanitized.call(training_kernels.train, training.graph, training.optimizer, samples)
    reference = ReferenceTrainer(training.graph, training.optimizer)
    for (sample, label, apply), (answer, parameters) in zip(samples, history, strict=True):
        step = reference.step(sample, label)
        if apply:
            reference.apply()
        assert answer.status == 0
        assert answer.prediction == step.prediction
        assert np.float32(answer.loss).tobytes() == np.float32(step.loss).tobytes()
        assert answer.step == reference.steps
        assert answer.saturations == reference.saturations
        assert parameters.keys() == reference.parameters.keys()
        for name, value in parameters.items():
            np.testing.assert_array_equal(value, reference.parameters[name], name)


@settings(SETTINGS, max_examples=40)
@given(training=trainings())
def test_trained_channels_in_front_change_no_bit(training: Training) -> None:
    """Splitting weights in two blocks and putting trained channels first is exact."""
    source = simplify(training.source)
    loss = next(op for op in training.graph.ops if op.phase == "loss")
    for sample in training.samples:
        expected = evaluate(source, {"x": sample})[logits_of(source)]
        actual = evaluate(training.graph, {"x": sample})[loss.inputs[0]]
        np.testing.assert_array_equal(actual, expected)


@settings(SETTINGS, max_examples=50)
@given(training=trainings(), data=st.data())
def test_operators_are_equal_at_their_extremes(
    sanitized: Sanitized, training: Training, data: st.DataObject
) -> None:
    """Each backward and update op by itself, on values that no forward pass would produce."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    for op in training.graph.ops:
        if op.phase not in ("backward", "update"):
            continue
        graph = training.graph
        moved = [
            with_other_exponent(graph[name], int(random.integers(-14, 40)))
            for name in op.outputs
            if op.kind not in ("activation_grad", "pad_grad", "reshape")
        ]
        graph = graph.with_tensors(moved)
        values: dict[str, Any] = {}
        for name in op.reads:
            tensor = graph[name]
            low = -127 if tensor.storage == "parameters" else -128
            values[name] = extreme(random, tensor.shape, tensor.dtype, low)
            if name.endswith("/residual") and tensor.dtype == "int8":
                values[name] = np.clip(values[name], -128, 127)
            if tensor.dtype == "int32":
                values[name] = np.clip(values[name], -BIAS_LIMIT, BIAS_LIMIT)
        rate = float(np.float32(10.0 ** random.uniform(-12, 3)))
        step = Step(index=int(random.integers(0, 2**31)), rate=rate)
        run = Run(graph, dict(values), step)
        try:
            expected = operator(op.kind).evaluate(op, run)
        except PlanError:  # an exponent that calibration would never choose
            continue
        results, saturations = sanitized.call(
            training_kernels.single_op, graph, op, values, Step(index=step.index, rate=rate)
        )
        for name, result, value in zip((*op.outputs, *op.updates), results, expected, strict=True):
            np.testing.assert_array_equal(result, value.reshape(result.shape), f"{op.kind}: {name}")
        assert saturations == step.saturations, op.kind


def with_other_exponent(tensor: Tensor, change: int) -> Tensor:
    return replace(tensor, quantization=gradient_scale(tensor.quant.exponent + change))
