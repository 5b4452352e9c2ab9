"""Random networks, plans and optimizers: NumPy and C train to the same bits.

The C runs under address and undefined-behaviour sanitizers.
"""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import training_kernels
from tests.support.extremes import cases, extreme
from tests.support.random_networks import Training, trainings
from tests.support.training_kernels import Sanitized
from tinykit.ops.evaluate import evaluate
from tinykit.passes import simplify
from tinykit.training.fine_logits import with_fine_logits
from tinykit.training.loss import logits_of
from tinykit.training.reference import ReferenceTrainer

SETTINGS = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@settings(SETTINGS, max_examples=80)
@given(training=trainings(), data=st.data())
def test_steps_are_equal_bit_for_bit(
    sanitized: Sanitized, sanitized_dsp: Sanitized, training: Training, data: st.DataObject
) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    samples = []
    for i in range(4):
        sample = training.samples[i]
        if data.draw(st.booleans()):
            sample = extreme(random, sample.shape, "int8", -128)
        label = data.draw(st.sampled_from([0, training.classes - 1]))
        samples.append((sample, label, data.draw(st.integers(0, 3)) == 0))

    histories = [
        worker.call(training_kernels.train, training.graph, training.optimizer, samples)
        for worker in (sanitized, sanitized_dsp)
    ]
    reference = ReferenceTrainer(training.graph, training.optimizer)
    for (sample, label, apply), *answers in zip(samples, *histories, strict=True):
        step = reference.step(sample, label)
        if apply:
            reference.apply()
        for answer, parameters in answers:
            assert answer.status == 0
            assert answer.prediction == step.prediction
            assert np.float32(answer.loss).tobytes() == np.float32(step.loss).tobytes()
            assert answer.step == reference.steps
            assert answer.saturations == reference.saturations
            assert (answer.skipped, answer.updated) == (reference.skipped, step.updated)
            assert parameters.keys() == reference.parameters.keys()
            for name, value in parameters.items():
                np.testing.assert_array_equal(value, reference.parameters[name], name)


@settings(SETTINGS, max_examples=40)
@given(training=trainings())
def test_trained_channels_in_front_change_no_bit(training: Training) -> None:
    """Splitting weights in two blocks and putting trained channels first is exact."""
    source = simplify(training.source)
    source, logits = with_fine_logits(source, logits_of(source))
    loss = next(op for op in training.graph.ops if op.phase == "loss")
    for sample in training.samples:
        expected = evaluate(source, {"x": sample})[logits]
        actual = evaluate(training.graph, {"x": sample})[loss.inputs[0]]
        np.testing.assert_array_equal(actual, expected)


@settings(SETTINGS, max_examples=50)
@given(training=trainings(), data=st.data())
def test_operators_are_equal_at_their_extremes(
    sanitized: Sanitized, sanitized_dsp: Sanitized, training: Training, data: st.DataObject
) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    for case in cases(training.graph, random):
        for worker in (sanitized, sanitized_dsp):
            arguments = (case.graph, case.op, case.values, case.step)
            case.check(*worker.call(training_kernels.single_op, *arguments))
