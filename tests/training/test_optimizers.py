"""Optimizers: integer training follows float64 training with the same plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.support.networks import Network
from tests.training.test_sgd import real_steps
from tinykit.codegen import compile_model
from tinykit.errors import UsageError
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.update import is_state
from tinykit.training.plan import Optimizer, Plan, Update
from tinykit.training.rate import learning_rate
from tinykit.training.reference import ReferenceTrainer

LIMITS = {"int8": 127.0, "int32": 2.0**29}
FRACTIONS = {"int8": 1.0, "int16": 2.0**8, "int32": 2.0**24}


def small_network() -> tuple[Network, str]:
    """Convolutions of all three kinds on 6 × 6 × 2 samples; four classes."""
    net = Network((1, 6, 6, 2), seed=41)
    x = net.conv("x", 6, (3, 3), stride=(2, 2))
    x = net.depthwise(x)
    x = net.conv(x, 8, (1, 1))
    return net, net.dense(net.mean(x), 4)


def made(optimizer: Optimizer) -> tuple[Graph, Array]:
    """A training graph in which everything learns, and samples."""
    net, output = small_network()
    samples = net.inputs(40)
    plan = Plan(optimizer=optimizer, update=(Update(layers="all", bias=True, weights=1.0),))
    labels = [i % 4 for i in range(40)]
    compiled = compile_model(net.graph(output), name="n", plan=plan, samples=samples, labels=labels)
    assert compiled.train is not None
    return compiled.train.graph, samples


def masters(trainer: ReferenceTrainer, master: str) -> dict[str, Array]:
    """Real values of what learns."""
    found = {}
    for name, used in trainer.parameters.items():
        if is_state(name):
            continue
        codes = used.astype(np.float64)
        residual = trainer.parameters.get(f"{name}/residual")
        if residual is not None:
            wide = master == "int32" and used.dtype == np.int8
            codes = codes + residual / (FRACTIONS["int32"] if wide else FRACTIONS["int16"])
        found[name] = codes * real_steps(trainer.graph, name)
    return found


@dataclass
class FloatTrainer:
    """The same optimizer on float64 masters; gradients are straight through the rounded codes."""

    graph: Graph
    optimizer: Optimizer
    real: dict[str, Array] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    total: dict[str, Array] = field(default_factory=dict)
    steps: int = 0
    updates: int = 0

    def step(self, sample: Array, label: int) -> None:
        codes = {}
        for name, value in self.real.items():
            limit = LIMITS[self.graph[name].dtype]
            rounded = np.floor(value / real_steps(self.graph, name) + 0.5)
            codes[name] = np.clip(rounded, -limit, limit).astype(self.graph[name].dtype)
        inputs = {self.graph.inputs[0]: sample}
        run = evaluate(self.graph, inputs, parameters=codes, step=Step(label=label), real=True)
        rate = learning_rate(self.optimizer, self.steps)
        self.steps += 1
        for name in self.real:
            gradient = run.gradients[name]
            norm = float(np.linalg.norm(gradient))
            if 0 < self.optimizer.clip_norm < norm:
                gradient = gradient * (self.optimizer.clip_norm / norm)
            self.total[name] = self.total.get(name, 0.0) + gradient / self.optimizer.accumulate
        if self.steps % self.optimizer.accumulate == 0:
            self.updates += 1
            for name, gradient in self.total.items():
                self.update(name, gradient, rate)
            self.total = {}

    def update(self, name: str, gradient: Array, rate: float) -> None:
        optimizer = self.optimizer
        if optimizer.method == "adam":
            m, v = self.memory.get(name, (0.0, 0.0))
            m = optimizer.beta_1 * m + (1 - optimizer.beta_1) * gradient
            v = optimizer.beta_2 * v + (1 - optimizer.beta_2) * gradient**2
            self.memory[name] = m, v
            unbiased = m / (1 - optimizer.beta_1**self.updates)
            deviation = np.sqrt(v / (1 - optimizer.beta_2**self.updates))
            velocity = unbiased / (deviation + optimizer.epsilon)
        else:
            velocity = optimizer.momentum * self.memory.get(name, 0.0) + gradient
            self.memory[name] = velocity
        decay = optimizer.weight_decay if self.graph[name].dtype == "int8" else 0.0
        self.real[name] = self.real[name] - rate * velocity - rate * decay * self.real[name]
        step = real_steps(self.graph, name)
        limit = LIMITS[self.graph[name].dtype]
        self.real[name] = np.clip(self.real[name] / step, -limit, limit) * step


def changes(optimizer: Optimizer, steps: int) -> dict[str, tuple[Array, Array]]:
    """(integer, float64) change of every trained tensor, in real units, after some steps."""
    graph, samples = made(optimizer)
    integer = ReferenceTrainer(graph, optimizer)
    start = masters(integer, optimizer.master)
    real = FloatTrainer(graph, optimizer, dict(start))
    for i in range(steps):
        integer.step(samples[i % 40], i % 4)
        real.step(samples[i % 40], i % 4)
    assert integer.saturations == 0
    end = masters(integer, optimizer.master)
    return {name: (end[name] - start[name], real.real[name] - start[name]) for name in start}


def cosine(a: Array, b: Array) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("key", ["skip_below", "guard_loss"])
def test_skipped_steps_change_nothing_and_are_counted(key: str, accumulate: int) -> None:
    bound = {"skip_below": 0.75, "guard_loss": 1.4}[key]
    optimizer = Optimizer(learning_rate=0.02, momentum=0.5, accumulate=accumulate, **{key: bound})
    graph, samples = made(optimizer)
    trainer = ReferenceTrainer(graph, optimizer)
    skipped = 0
    for i in range(60):
        before = trainer.parameters
        logits = next(op.inputs[0] for op in graph.ops if op.phase == "loss")
        inputs = {graph.inputs[0]: samples[i % 40]}
        codes = evaluate(graph, inputs, parameters=before)[logits].astype(np.float64).ravel()
        chances = np.exp(codes * graph[logits].quant.scale0)
        chances /= chances.sum()
        error = np.abs(chances - np.eye(4)[i % 4]).max()
        step = trainer.step(samples[i % 40], i % 4)
        certain = error < bound if key == "skip_below" else step.loss > bound
        assert step.skips == certain
        skipped += certain
        if certain:
            assert step.updated == 0
            for name, value in trainer.parameters.items():
                if accumulate == 1 or name.endswith("/momentum"):
                    np.testing.assert_array_equal(value, before[name])
        else:
            assert step.updated > 0
    assert (trainer.steps, trainer.skipped) == (60, skipped)
    assert 5 < skipped < 55


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"learning_rate": 0.02},
    "momentum": {"learning_rate": 0.004, "momentum": 0.9},
    "momentum, accumulated": {"learning_rate": 0.01, "momentum": 0.8, "accumulate": 3},
    "momentum, cosine": {
        "learning_rate": 0.004, "momentum": 0.9, "schedule": "cosine", "total_steps": 120,
        "warmup_steps": 20,
    },
    "int32": {"learning_rate": 0.02, "master": "int32"},
    "int32, accumulated": {"learning_rate": 0.03, "master": "int32", "accumulate": 4},
    "int32 and momentum": {"learning_rate": 0.004, "master": "int32", "momentum": 0.9},
    "clipped": {"learning_rate": 0.02, "clip_norm": 0.3},
    "clipped momentum": {"learning_rate": 0.01, "momentum": 0.9, "clip_norm": 0.2},
    "adam": {"method": "adam", "learning_rate": 0.002},
    "adam, int32, decay": {
        "method": "adam", "learning_rate": 0.002, "master": "int32", "weight_decay": 0.1,
    },
    "decay": {"learning_rate": 0.02, "weight_decay": 0.1},
    "momentum and decay": {"learning_rate": 0.004, "momentum": 0.9, "weight_decay": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_integer_training_follows_float64(options: dict[str, Any]) -> None:
    """One learning rate, the same plan: every tensor goes the same way, as far."""
    for name, (integer, real) in changes(Optimizer(**options), 120).items():
        similar, ratio = cosine(integer, real), np.linalg.norm(integer) / np.linalg.norm(real)
        assert similar > 0.95, f"{name}: cosine {similar}"
        assert ratio == pytest.approx(1, abs=0.15), f"{name}: norm ratio {ratio}"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"method": "adam", "momentum": 0.9}, "momentum is for method"),
        ({"method": "adam", "accumulate": 2}, "accumulate = 1"),
        ({"schedule": "step"}, "needs step_size"),
        ({"step_size": 3}, "the others have none"),
        ({"momentum": 1.0}, "optimizer.momentum"),
        ({"clip_nrom": 1.0}, "did you mean clip_norm"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    data = {"optimizer": options, "update": [{"layers": "head", "bias": True}]}
    with pytest.raises(UsageError, match=complaint):
        Plan.parse(data, "plan.toml")


def test_learning_rate_falls_in_steps() -> None:
    optimizer = Optimizer(learning_rate=0.8, schedule="step", step_size=10, step_factor=0.5)
    rates = [learning_rate(optimizer, step) for step in (0, 9, 10, 25, 2**31)]
    assert rates == pytest.approx([0.8, 0.8, 0.4, 0.2, 0.0], abs=1e-6)
