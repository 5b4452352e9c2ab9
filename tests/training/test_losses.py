"""Losses beside softmax cross-entropy: which is chosen, what it is told, and that it is learnt.

Gradients are held against TensorFlow's (tests/support/tensorflow_gradients.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import training_kernels
from tests.support.generated_training import train_generated
from tests.support.networks import Network
from tests.support.training_kernels import Sanitized
from tests.training.test_gradients_tensorflow import compare
from tinykit.codegen import Compiled, compile_model, write
from tinykit.errors import PlanError, UsageError
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.ir import Array, Graph, Op, Quantization, Tensor
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.softmax_cross_entropy import LossAttributes
from tinykit.ops.target import Target
from tinykit.training.loss import loss_of, target_form
from tinykit.training.plan import Optimizer, Plan, Training, Update
from tinykit.training.reference import ReferenceTrainer

SOFTMAX, SIGMOID, SQUARED = "softmax_cross_entropy", "sigmoid_cross_entropy", "mean_squared_error"
EVERYTHING = (Update(layers="all", bias=True, weights=1.0),)
OUTPUTS = 5


def plan_for(training: Training, rate: float = 0.02) -> Plan:
    return Plan(
        name="p", training=training, optimizer=Optimizer(learning_rate=rate), update=EVERYTHING
    )


def features(seed: int) -> tuple[Network, str]:
    net = Network((1, 8, 8, 3), seed=seed)
    x = net.conv("x", 8, stride=(2, 2))
    return net, net.mean(net.depthwise(x))


def multi_label() -> tuple[Network, str, Training]:
    net, x = features(31)
    return net, net.sigmoid(net.dense(x, OUTPUTS)), Training()


def yes_or_no() -> tuple[Network, str, Training]:
    net, x = features(32)
    return net, net.sigmoid(net.dense(x, 1)), Training()


def logits_only() -> tuple[Network, str, Training]:
    net, x = features(33)
    return net, net.dense(x, OUTPUTS), Training(loss=SIGMOID)


def regression() -> tuple[Network, str, Training]:
    net, x = features(34)
    return net, net.dense(x, OUTPUTS), Training(loss=SQUARED)


def one_number() -> tuple[Network, str, Training]:
    net, x = features(35)
    return net, net.dense(x, 1), Training(loss=SQUARED)


def autoencoder() -> tuple[Network, str, Training]:
    net = Network((1, 6, 5, 2), seed=36)
    x = net.dense(net.dense(net.flatten("x"), 9, "relu"), 60)
    return net, net.reshape(x, (1, 6, 5, 2)), Training(loss=SQUARED, target="input")


CASES: Any = (multi_label, yes_or_no, logits_only, regression, one_number, autoencoder)


def compiled(case: Any) -> tuple[Compiled, Array, list[Target]]:
    net, output, training = case()
    graph, samples = net.graph(output), net.inputs(10)
    plan = plan_for(training)
    untrained = compile_model(graph, name="model", plan=plan, samples=samples[:1])
    assert untrained.train is not None
    form = target_form(untrained.train.graph)
    targets = [
        net.random.integers(-128, 128, form.values).astype(np.int8) if form.given else None
        for _ in samples
    ]
    made = compile_model(graph, name="model", plan=plan, samples=samples, labels=targets)
    return made, samples, targets


def truth_of(graph: Graph, sample: Array, target: Target) -> Array:
    """A target's real values."""
    if target is None:
        quant = graph[graph.inputs[0]].quant
        return np.asarray(sample.reshape(-1).astype(np.float64) - quant.zero_point0) * np.float64(
            quant.scale0
        )
    form = target_form(graph)
    return (np.asarray(target, np.float64) - form.zero_point) * form.scale


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_gradients_equal_tensorflows(case: Any) -> None:
    made, samples, targets = compiled(case)
    assert made.train is not None
    graph = made.train.graph
    for sample, target in zip(samples[:3], targets, strict=False):
        compare(graph, sample, target, truth_of(graph, sample, target))


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_label_is_one_output_alone(outputs: int) -> None:
    net, x = features(37)
    graph = net.graph(net.sigmoid(net.dense(x, outputs)))
    made = compile_model(graph, name="m", plan=plan_for(Training()), samples=net.inputs(4))
    assert made.train is not None
    training, sample = made.train.graph, net.inputs(1)[0]
    for label in range(max(2, outputs)):
        wanted = np.array([label]) if outputs == 1 else np.arange(outputs) == label
        values = np.where(wanted, 127, -128).astype(np.int8)
        steps = [Step.towards(label, 0.1), Step.towards(values, 0.1)]
        runs = [evaluate(training, {training.inputs[0]: sample}, step=step) for step in steps]
        assert steps[0].loss == steps[1].loss
        np.testing.assert_array_equal(runs[0]["loss/gradient"], runs[1]["loss/gradient"])


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_generated_code_equals_numpy(case: Any, tmp_path: Path) -> None:
    """Under sanitizers, step by step: loss, prediction, and every trained bit."""
    made, samples, targets = compiled(case)
    manifest = write(made, tmp_path)
    assert made.train is not None
    graph = made.train.graph
    trainer = ReferenceTrainer(graph, plan_for(Training()).optimizer)
    requests = [(x, t, False) for x, t in zip(samples[:5], targets, strict=False)]
    for (sample, target, _), (answer, block, _) in zip(
        requests, train_generated(tmp_path, requests), strict=True
    ):
        step = trainer.step(sample, target)
        assert (answer.status, answer.prediction) == (0, step.prediction)
        assert np.float32(answer.loss) == np.float32(step.loss)
        for p in manifest.parameters:
            expected = graph[p.name].stored(trainer.parameters[p.name])
            assert block[p.offset : p.offset + p.bytes] == expected.tobytes()


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_a_target_that_the_loss_does_not_take_changes_nothing(tmp_path: Path) -> None:
    made, samples, _ = compiled(regression)
    write(made, tmp_path)
    host = HostModel(tmp_path)
    before = host.save()
    assert [host.train(samples[0], target).status for target in (None, 0, -1)] == [1, 1, 1]
    with pytest.raises(UsageError, match="takes 5 values"):
        host.train(samples[0], np.zeros(4, np.int8))
    assert host.save() == before
    made, samples, _ = compiled(yes_or_no)
    write(made, tmp_path / "binary")
    host = HostModel(tmp_path / "binary")
    assert [host.train(samples[0], label).status for label in (0, 1, 2)] == [0, 0, 1]


# --- the loss alone, at its extremes --------------------------------------------------------------


@settings(
    deadline=None,
    derandomize=True,
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_losses_are_equal_bit_for_bit(sanitized: Sanitized, data: st.DataObject) -> None:
    """Any scales and codes: loss, rate and gradient of NumPy and C."""
    kind = data.draw(st.sampled_from([SIGMOID, SQUARED, "reconstruction"]))
    size = data.draw(st.integers(1, 9))
    scales = st.sampled_from([1e-6, 0.003, 0.1, 7.0, 300.0])
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    codes = st.sampled_from([0, 1, 255])

    def values() -> Array:
        spread = data.draw(codes)
        return np.clip(random.integers(-128, -127 + spread, size), -128, 127).astype(np.int8)

    zero = st.sampled_from([-128, 0, 3, 127])
    tensors = {
        name: Tensor(
            name,
            (1, size),
            "int8",
            Quantization.per_tensor(float(np.float32(data.draw(scales))), data.draw(zero)),
        )
        for name in ("y", "t")
    }
    tensors["g"] = Tensor("g", (1, size), "int16", Quantization.per_tensor(2.0**-14))
    inputs = ("y", "t") if kind == "reconstruction" else ("y",)
    ends = LossAttributes(
        data.draw(st.sampled_from([0.0, 0.1])), data.draw(st.sampled_from([0.0, 1.0]))
    )
    op = Op(SIGMOID if kind == SIGMOID else SQUARED, "loss", inputs, ("g",), ends, phase="loss")
    graph = Graph("loss", tensors, (op,), inputs, ("g",))
    given_values = {"y": values().reshape(1, size), "t": values().reshape(1, size)}
    target = None if kind == "reconstruction" else given_values["t"].reshape(-1)
    rate = float(np.float32(0.1))
    step = Step.towards(target, rate)
    step.headroom = data.draw(st.integers(0, 8))
    expected = evaluate(graph, {name: given_values[name] for name in inputs}, step=step)["g"]
    answer = sanitized.call(
        training_kernels.single_loss, graph, op, given_values, target, rate, step.headroom
    )
    gradient, loss, prediction, after, skips = answer
    assert skips == step.skips
    np.testing.assert_array_equal(gradient, expected)
    assert np.float32(loss).tobytes() == np.float32(step.loss).tobytes()
    assert np.float32(after).tobytes() == np.float32(step.rate).tobytes()
    assert prediction == step.prediction
    assert np.abs(expected.astype(int)).max() <= 2 ** (14 - step.headroom)


# --- choosing -------------------------------------------------------------------------------------


def ending(kind: str) -> Graph:
    net, x = features(38)
    y = net.dense(x, OUTPUTS)
    return net.graph({"softmax": net.softmax, "sigmoid": net.sigmoid}.get(kind, lambda y: y)(y))


def test_the_networks_end_says_the_loss() -> None:
    for kind, loss in (("softmax", SOFTMAX), ("sigmoid", SIGMOID), ("logits", SOFTMAX)):
        graph = ending(kind)
        found, tensor = loss_of(graph)
        assert found == loss
        assert graph[tensor].quant.scale0 != 1 / 256


@pytest.mark.parametrize(
    ("graph", "training", "message"),
    [
        (ending("softmax"), Training(loss=SIGMOID), "ends in softmax"),
        (ending("sigmoid"), Training(loss=SOFTMAX), "ends in logistic"),
        (ending("logits"), Training(target="input"), "is for mean_squared_error"),
        (ending("logits"), Training(loss=SQUARED, target="input"), "as many int8"),
    ],
)
def test_what_does_not_fit_together_is_said(graph: Graph, training: Training, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        compile_model(graph, name="m", plan=plan_for(training))


def test_an_autoencoders_loss_must_be_named() -> None:
    net, output, training = autoencoder()
    graph = net.graph(output)
    with pytest.raises(PlanError, match="is it an autoencoder") as caught:
        compile_model(graph, name="m", plan=plan_for(Training()))
    assert SQUARED in caught.value.hint
    compile_model(graph, name="m", plan=plan_for(training))


def test_one_output_has_no_softmax() -> None:
    net, x = features(39)
    with pytest.raises(PlanError, match="two or more classes"):
        compile_model(net.graph(net.dense(x, 1)), name="m", plan=plan_for(Training()))


# --- a real autoencoder ---------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_anomaly_detection_learns_its_input(shared: Path, tmp_path: Path) -> None:
    """MLPerf Tiny's AD: gradients as TensorFlow's; on windows of a sound the error falls."""
    graph = load_model(shared / "models/mlperf_tiny/ad01_int8.tflite")
    sound = np.fromfile(shared / "models/mlperf_tiny/ad_sample_logmel_200x128_f32.bin", "<f4")
    windows = np.stack([sound.reshape(200, 128)[i : i + 5].reshape(-1) for i in range(0, 196, 4)])
    quant = graph[graph.inputs[0]].quant
    codes = np.clip(np.rint(windows / quant.scale0) + quant.zero_point0, -128, 127)
    samples = codes.astype(np.int8)[:, None]
    training = Training(loss=SQUARED, target="input")
    plan = plan_for(training, rate=0.05)
    made = compile_model(graph, name="ad", plan=plan, samples=samples[:8])
    assert made.train is not None
    compare(made.train.graph, samples[20], None, truth_of(made.train.graph, samples[20], None))
    write(made, tmp_path)
    host = HostModel(tmp_path)
    losses = [host.train(samples[i % len(samples)], None).loss for i in range(len(samples) * 6)]
    first, last = np.mean(losses[: len(samples)]), np.mean(losses[-len(samples) :])
    assert last < 0.7 * first
