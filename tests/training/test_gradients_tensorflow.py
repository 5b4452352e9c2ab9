"""Gradients of NumPy's real and integer backward passes against TensorFlow's of the same network.

Straight-through at the rounding: tests/support/tensorflow_gradients.py says how.  Real mode is the
same mathematics, so it must agree to rounding; integer mode is what a device computes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.architectures import ARCHITECTURES, Architecture
from tests.support.networks import Network
from tinykit.codegen import compile_model
from tinykit.importers import load_model
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Step, evaluate, initial_values
from tinykit.ops.target import Target
from tinykit.training.loss import logits_of
from tinykit.training.plan import Plan, Update, tte_plan

EVERYTHING = Plan(name="everything", update=(Update(layers="all", bias=True, weights=1.0),))
PARTS = Plan(
    name="parts",
    update=(
        Update(layers="all", bias=True, weights=0.4),
        Update(layers="last 2", weights=0.7, select="first"),
    ),
)
BIASES = Plan(name="biases", update=(Update(layers="all", bias=True),))


def cosine(a: Array, b: Array) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def check(graph: Graph, samples: Array) -> None:
    """Both modes against TensorFlow, for every trained tensor; the label is the unlikeliest."""
    logits = next(op.inputs[0] for op in graph.ops if op.phase == "loss")
    for sample in samples:
        label = int(evaluate(graph, {graph.inputs[0]: sample})[logits].argmin())
        compare(graph, sample, label, label)


def compare(graph: Graph, sample: Array, target: Target, truth: int | Array) -> None:
    """Both modes against TensorFlow. truth: the target, in real values if it is a vector."""
    from tests.support.tensorflow_gradients import tensorflow_gradients

    loss_op = next(op for op in graph.ops if op.phase == "loss")
    logits = loss_op.inputs[0]
    inputs = {graph.inputs[0]: sample}
    real = evaluate(graph, inputs, step=Step.towards(target), real=True)
    step = Step.towards(target, 0.01)
    integer = evaluate(graph, inputs, step=step)
    codes = {**real.values, **initial_values(graph)}
    loss, expected = tensorflow_gradients(graph, codes, logits, truth, loss_op.kind)
    assert step.loss == pytest.approx(loss, rel=1e-5, abs=1e-5)
    assert step.saturations == 0
    assert expected.keys() == real.gradients.keys() == integer.gradients.keys()
    for name, gradient in expected.items():
        size = float(np.linalg.norm(gradient))
        assert size > 1e-4, f"{name}: nothing to compare"
        np.testing.assert_allclose(
            real.gradients[name], gradient, rtol=1e-4, atol=1e-5 * np.abs(gradient).max()
        )
        similar = cosine(integer.gradients[name], gradient)
        ratio = float(np.linalg.norm(integer.gradients[name])) / size
        assert similar >= 0.999, f"{name}: cosine {similar}"
        assert ratio == pytest.approx(1, abs=0.02), f"{name}: norm ratio {ratio}"


@pytest.mark.parametrize("plan", [EVERYTHING, PARTS, BIASES], ids=lambda plan: plan.name)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda f: f.__name__)
def test_gradients_equal_tensorflows(architecture: Architecture, plan: Plan) -> None:
    net, output = architecture()
    graph = net.graph(output, architecture.__name__)
    classes = graph[logits_of(graph)].size
    samples = net.inputs(14)
    labels = [i % classes for i in range(12)]
    compiled = compile_model(graph, name="net", plan=plan, samples=samples[:12], labels=labels)
    assert compiled.train is not None
    check(compiled.train.graph, samples[12:])


@pytest.mark.parametrize(
    ("model", "plan"),
    [
        ("mlperf_tiny/kws_ref_model.tflite", EVERYTHING),
        ("mlperf_tiny/pretrainedResnet_quant.tflite", PARTS),
        ("mlperf_tiny/vww_96_int8.tflite", BIASES),
        ("mcunet-5fps-10c.tflite", "49kb"),
    ],
)
def test_gradients_of_real_models_equal_tensorflows(
    model: str, plan: Plan | str, shared: Path
) -> None:
    graph = load_model(shared / "models" / model)
    if isinstance(plan, str):
        plan = tte_plan(shared / "models" / "tte_schemes.json", "mcunet", plan)
    net = Network(graph[graph.inputs[0]].shape, seed=20)
    samples = net.inputs(6)
    classes = graph[logits_of(graph)].size
    labels = [i % classes for i in range(5)]
    compiled = compile_model(graph, name="net", plan=plan, samples=samples[:5], labels=labels)
    assert compiled.train is not None
    check(compiled.train.graph, samples[5:])


@pytest.mark.parametrize("name", ["residual_2d", "convolutional_1d"])
def test_gradients_of_converted_keras_models_equal_tensorflows(name: str, tmp_path: Path) -> None:
    from tests.support import keras_models

    path = tmp_path / "model.tflite"
    floats = keras_models.convert(getattr(keras_models, name)(), path)
    graph = load_model(path)
    quant = graph[graph.inputs[0]].quant
    codes = np.rint(floats / quant.scale0) + quant.zero_point0
    samples = np.clip(codes, -128, 127).astype(np.int8)[:, None]
    labels = [i % graph[logits_of(graph)].size for i in range(16)]
    for plan in (EVERYTHING, PARTS):
        compiled = compile_model(graph, name="net", plan=plan, samples=samples[:16], labels=labels)
        assert compiled.train is not None
        check(compiled.train.graph, samples[30:32])
