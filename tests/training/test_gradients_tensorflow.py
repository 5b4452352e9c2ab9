"""Gradients of NumPy's real and integer backward passes against TensorFlow's of the same network.

Straight-through at the rounding: tests/support/tensorflow_gradients.py says how.  Real mode is the
same mathematics, so it must agree to rounding; integer mode is what a device computes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.architectures import ARCHITECTURES, Architecture, products, squeeze_excite
from tests.support.networks import Network
from tinykit.codegen import compile_model
from tinykit.importers import load_model
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Run, Step, evaluate, initial_values
from tinykit.ops.registry import operator
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


CANCELLED = 0.003
"""Error of a bias's gradient, by the magnitude of what is summed up, that needs no other excuse.

A query's bias in `products` has pixel gradients that cancel to 1 % of their magnitudes: each is
rounded once, without a bias (see test_rounding_is_unbiased), but their sum keeps the rounding."""


def addends(graph: Graph, run: Run, name: str) -> float:
    """The norm of a bias's sums of |pixel gradient|; 0 for weights."""
    for op in graph.ops:
        if op.kind == "bias_update" and op.updates[0] == name:
            magnitudes = np.abs(run[op.inputs[0]]).reshape(-1, graph[name].size).sum(axis=0)
            return float(np.linalg.norm(magnitudes)) * run.step.normalisation
    return 0.0


def check(graph: Graph, samples: Array) -> None:
    """Both modes against TensorFlow, for every trained tensor; the label is the unlikeliest."""
    logits = next(op.inputs[0] for op in graph.ops if op.phase == "loss")
    for sample in samples:
        label = int(evaluate(graph, {graph.inputs[0]: sample})[logits].argmin())
        compare(graph, sample, label, label)


def compare(graph: Graph, sample: Array, target: Target, truth: Any) -> None:
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
        error = float(np.linalg.norm(integer.gradients[name] - gradient))
        if error <= CANCELLED * addends(graph, real, name):
            continue
        similar = cosine(integer.gradients[name], gradient)
        ratio = float(np.linalg.norm(integer.gradients[name])) / size
        assert similar >= 0.999, f"{name}: cosine {similar}"
        assert ratio == pytest.approx(1, abs=0.02), f"{name}: norm ratio {ratio}"


def trained(net: Network, output: str, plan: Plan = EVERYTHING) -> tuple[Graph, Array]:
    """The calibrated training graph, and two samples it has not seen."""
    graph, samples = net.graph(output), net.inputs(14)
    classes = graph[logits_of(graph)].size
    labels = [i % classes for i in range(12)]
    compiled = compile_model(graph, name="net", plan=plan, samples=samples[:12], labels=labels)
    assert compiled.train is not None
    return compiled.train.graph, samples[12:]


@pytest.mark.parametrize("plan", [EVERYTHING, PARTS, BIASES], ids=lambda plan: plan.name)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda f: f.__name__)
def test_gradients_equal_tensorflows(architecture: Architecture, plan: Plan) -> None:
    check(*trained(*architecture(), plan))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("architecture", [products, squeeze_excite], ids=lambda f: f.__name__)
def test_products_of_any_seed(architecture: Architecture, seed: int) -> None:
    """Where gradients pass through products of activations; seed 1 is the one of CANCELLED."""
    graph, samples = trained(*architecture(seed))
    check(graph, samples)


@pytest.mark.parametrize("architecture", [products, squeeze_excite], ids=lambda f: f.__name__)
def test_rounding_is_unbiased(architecture: Architecture) -> None:
    """A product's gradient is off by half a unit at most, and by nothing on average."""
    errors = []
    for seed in range(8):
        graph, samples = trained(*architecture(seed))
        for sample in samples:
            run = evaluate(graph, {graph.inputs[0]: sample}, step=Step.towards(0, 0.01))
            for op in graph.ops:
                if op.kind in ("batch_matmul_grad", "linear_grad"):
                    gradient, result = graph[op.inputs[0]].quant, graph[op.outputs[0]].quant
                    scaled = {op.inputs[0]: run[op.inputs[0]] * gradient.scale0}
                    exact = Run(graph, {**run.values, **scaled}, Step(), real=True)
                    (expected,) = operator(op.kind).evaluate(op, exact)
                    units = expected / result.scale0
                    error = run[op.outputs[0]] - units
                    assert (np.abs(error) <= 0.51 + np.abs(units) * 2.0**-14).all()
                    errors.append(error.reshape(-1))
    every = np.concatenate(errors)
    assert every.size > 2000
    assert abs(every.mean()) < 4 * every.std() / np.sqrt(every.size) < 0.03


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
