"""Logits of int16: exact sums, and differences that int8 ones lose at their ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from tests.support import training_kernels
from tests.support.networks import Network
from tests.support.training_kernels import Sanitized
from tinykit.ir import Array, Graph, Quantization
from tinykit.ops.evaluate import Step, evaluate
from tinykit.training.autodiff import differentiate
from tinykit.training.calibrate import calibrate
from tinykit.training.loss import before_reshapes, logits_of
from tinykit.training.plan import Optimizer, Plan, Training, Update
from tinykit.training.reference import ReferenceTrainer
from tinykit.training.trainable import make_trainable

Kind = Literal["dense", "convolution", "map", "activation"]
PLAN = Plan(update=(Update(layers="last 1", bias=True, weights=0.5),))
OPTIMIZER = Optimizer(learning_rate=0.01)
NARROW = 0.2  # of the range that the int8 logits should have


def network(kind: Kind, ratio: float = 1.0) -> tuple[Graph, Array]:
    """A forward graph whose weights may learn, its logits' scale times `ratio`; samples."""
    net = Network((1, 6, 6, 3), seed=5, input_zero_point=-3)
    x = net.conv("x", 7, stride=(2, 2))
    if kind == "dense":
        y = net.dense(net.mean(x), 5)
    elif kind == "activation":
        y = net.dense(net.mean(x), 5, activation="relu")
    elif kind == "convolution":
        x = net.average_pool(x, (3, 3), (3, 3))
        y = net.reshape(net.conv(x, 5, (1, 1), activation="none"), (1, 5))
    else:
        y = net.mean(net.conv(x, 5, (1, 1), activation="none"))
    graph = net.graph(net.softmax(y))
    ends = {y, before_reshapes(graph, y)}
    scaled = Quantization.per_tensor(float(np.float32(graph[y].quant.scale0 * ratio)), 3)
    graph = graph.with_tensors([replace(graph[name], quantization=scaled) for name in ends])
    return make_trainable(graph, PLAN.resolve(graph)), net.inputs(12)


def training_graph(graph: Graph, samples: Array, training: Training | None = None) -> Graph:
    made = differentiate(graph, OPTIMIZER, training)
    return calibrate(made, samples, [i % 5 for i in range(len(samples))])


def true_logits(graph: Graph, sample: Array) -> Array:
    """What the last layer's integers are worth, in float64."""
    op = graph.producer(before_reshapes(graph, logits_of(graph)))
    assert op is not None
    values = evaluate(graph, {graph.inputs[0]: sample})
    x, w = graph[op.inputs[0]], graph[op.inputs[1]]
    codes = np.concatenate([values[op.inputs[1]], values[op.inputs[3]]], -1).reshape(5, -1)
    steps = x.quant.scale0 * np.array(w.quant.scale)
    sums = codes.astype(np.float64) @ (
        values[op.inputs[0]].reshape(-1) - float(x.quant.zero_point0)
    )
    return np.asarray((sums + values[op.inputs[2]]) * steps)


def loss_of(graph: Graph, sample: Array, label: int) -> float:
    step = Step(label=label)
    evaluate(graph, {graph.inputs[0]: sample}, step=step)
    return step.loss


@pytest.mark.parametrize("kind", ["dense", "convolution"])
def test_fine_logits_are_the_layers_sums(kind: Kind) -> None:
    graph, samples = network(kind)
    training = training_graph(graph, samples)
    name = next(op.inputs[0] for op in training.ops if op.phase == "loss")
    scale = training[name].quant.scale0
    assert training[name].dtype == "int16"
    assert scale == pytest.approx(graph[logits_of(graph)].quant.scale0 / 16)
    assert logits_of(graph) not in training.tensors, "the int8 ones are made for nobody"
    for sample in samples:
        run = evaluate(training, {training.inputs[0]: sample})
        np.testing.assert_allclose(
            run[name].reshape(-1) * scale, true_logits(graph, sample), atol=0.501 * scale
        )


def test_what_lies_beyond_the_ends_of_int8_counts() -> None:
    """As sharp a loss as in float64; from int8 logits it would be another one."""
    graph, samples = network("dense", NARROW)
    fine = training_graph(graph, samples)
    coarse = training_graph(graph, samples, Training(logits="int8"))
    worst = 0.0
    for sample in samples:
        real = true_logits(graph, sample)
        label = int(real.argmin())
        expected = float(np.log(np.exp(real - real[label]).sum()))
        assert loss_of(fine, sample, label) == pytest.approx(expected, abs=0.01)
        worst = max(worst, abs(loss_of(coarse, sample, label) - expected))
    assert worst > 0.2


@pytest.mark.parametrize("kind", ["map", "activation"])
def test_other_logits_stay_int8(kind: Kind) -> None:
    graph, samples = network(kind)
    training = training_graph(graph, samples)
    (name,) = (op.inputs[0] for op in training.ops if op.phase == "loss")
    assert (name, training[name].dtype) == (logits_of(graph), "int8")


@pytest.mark.parametrize("kind", ["dense", "convolution"])
def test_c_computes_the_same(sanitized: Sanitized, kind: Kind) -> None:
    graph, samples = network(kind, NARROW)
    training = training_graph(graph, samples)
    told = [(sample, i % 5, False) for i, sample in enumerate(samples)]
    trainer = ReferenceTrainer(training, OPTIMIZER)
    history = sanitized.call(training_kernels.train, training, OPTIMIZER, told)
    for (sample, label, _), (answer, parameters) in zip(told, history, strict=True):
        step = trainer.step(sample, label)
        assert (answer.loss, answer.prediction) == (step.loss, step.prediction)
        for name, value in parameters.items():
            np.testing.assert_array_equal(value, trainer.parameters[name], name)
