"""Whether noise alone makes weights shrink or grow: the drift of Σ|w|.

Training never stops on a device, and most of what it sees is noise about an optimum. An update that
rounds towards zero makes every weight a little smaller whatever the sign of its gradient, so noise
of mean zero eats the network. Here the whole C engine takes 50 steps of such noise, and so does
SGD on float64 masters; what it has left of Σ|w| is compared.

Noise of mean zero: each step takes another sample, and its label is drawn from the distribution
that the model itself predicts for it. Then the expected gradient of every parameter is exactly 0:
Σ_y p(y|x) ∇ log p(y|x) = ∇ Σ_y p(y|x) = 0. (Random labels of equal chance would not do: against
those the gradient has a mean that pulls every prediction towards equal chances.) Both sides get the
same samples and labels; the draws are from float64's distribution.

float64 SGD: masters in units of the int8 (or, of biases, int32) codes, w ← w − r · G / s, clipped
at ±127 as the engine's. Its gradient is the float64 straight-through one (real=True) of a forward
pass with its own masters, rounded to nearest: it knows nothing of the engine. Both sides run SGD
with one constant rate, whatever else the plan's optimizer does; rounding and masters are the
plan's. The rate is such that a weight moves by at least 0.1 codes a step on average: if less, there
would be nothing to round away.

As a control the same gradients also go to weights that are rounded towards zero in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.measuring.gradients import parameters_of, training_graph
from bench.measuring.photos import CALIBRATION, Samples
from tinykit.codegen.generate import Compiled, compile_model, write
from tinykit.host import HostModel
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.gradient_arithmetic import BIAS_LIMIT, WEIGHT_LIMIT
from tinykit.training.loss import logits_of
from tinykit.training.plan import Optimizer, Plan

STEPS = 50
LEAST = 0.1  # mean |Δw| a step, in int8 codes
AIM = 0.15  # what the rate is chosen for; later gradients may be smaller
TRIES = 3
SEED = 0

Progress = Callable[[int, int], None]
Masters = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class TensorDrift:
    """Σ|w| of one trained weight tensor: the engine's and the control's by float64's, less 1; and
    float64's by that of the beginning, less 1. `move` is float64's mean |Δw| a step, in codes."""

    tensor: str
    drift: float
    truncated: float
    diffused: float
    move: float


@dataclass(frozen=True)
class Drift:
    """By tensor; `move` over all weights, `rate` the learning rate."""

    tensors: tuple[TensorDrift, ...]
    rate: float
    move: float
    steps: int

    @property
    def worst(self) -> float:
        """The drift farthest from 0."""
        return max((tensor.drift for tensor in self.tensors), key=abs)

    @property
    def truncated(self) -> float:
        """The control's drift farthest from 0."""
        return max((tensor.truncated for tensor in self.tensors), key=abs)


def check(
    graph: Graph, plan: Plan, samples: Samples, work: Path, progress: Progress | None = None
) -> Drift | None:
    """The drift of a model (its imported graph) with a plan, built in `work`; None where no weights
    learn. Raises PlanError, BuildError."""
    given = plan.optimizer
    plain = Optimizer(rounding=given.rounding, master=given.master, seed=given.seed)
    plan = plan.model_copy(update={"optimizer": plain})
    known = samples.calibration
    compiled = compile_model(graph, name="drift", plan=plan, samples=known.x, labels=known.labels)
    training = training_graph(compiled)
    trained = [op.updates[0] for op in training.ops if op.phase == "update"]
    masters = {name: training[name].value.astype(np.float64) for name in trained}
    weights = [name for name in masters if training[name].dtype == "int8"]
    if not weights:
        return None
    rate = AIM / _mean_gradient(compiled, masters, weights, samples)
    for attempt in range(TRIES):
        host = _built(compiled, rate, work / str(attempt))
        found = _run(compiled, host, dict(masters), weights, rate, samples, progress)
        if found.move >= LEAST:
            break
        rate *= AIM / found.move
    return found


def _built(compiled: Compiled, rate: float, work: Path) -> HostModel:
    """The engine with another learning rate."""
    assert compiled.plan is not None
    optimizer = compiled.plan.optimizer.model_copy(update={"learning_rate": rate})
    plan = compiled.plan.model_copy(update={"optimizer": optimizer})
    write(replace(compiled, plan=plan), work)
    return HostModel(work)


def _mean_gradient(
    compiled: Compiled, masters: Masters, weights: list[str], samples: Samples
) -> float:
    """The mean |G / s| over all weights and a few samples: codes a step at rate 1."""
    graph = training_graph(compiled)
    random = np.random.default_rng(SEED)
    total = 0.0
    count = min(8, CALIBRATION)
    for index in range(count):
        sample = samples.learnt.step(index)[0]
        directions = _directions(compiled, masters, sample, random)[1]
        total += sum(float(np.abs(directions[name]).sum()) for name in weights)
    return total / count / sum(graph[name].size for name in weights)


def _run(
    compiled: Compiled,
    host: HostModel,
    masters: Masters,
    weights: list[str],
    rate: float,
    samples: Samples,
    progress: Progress | None,
) -> Drift:
    graph = training_graph(compiled)
    rate = float(np.float32(rate))  # as the engine has it
    random = np.random.default_rng(SEED)
    begun = {name: masters[name] for name in weights}
    truncated = dict(begun)
    moved = dict.fromkeys(weights, 0.0)
    for index in range(STEPS):
        sample = samples.learnt.step(index)[0]
        label, directions = _directions(compiled, masters, sample, random)
        host.train(sample, label)
        for name, direction in directions.items():
            change = rate * direction
            limit = WEIGHT_LIMIT if graph[name].dtype == "int8" else BIAS_LIMIT
            masters[name] = np.clip(masters[name] - change, -limit, limit)
            if name in truncated:
                moved[name] += float(np.abs(change).sum())
                truncated[name] = np.clip(np.trunc(truncated[name] - change), -limit, limit)
        if progress is not None:
            progress(index + 1, STEPS)
    engine = parameters_of(host, graph)
    tensors = [
        TensorDrift(
            tensor=name,
            drift=_sum(engine[name]) / _sum(masters[name]) - 1,
            truncated=_sum(truncated[name]) / _sum(masters[name]) - 1,
            diffused=_sum(masters[name]) / _sum(begun[name]) - 1,
            move=moved[name] / STEPS / graph[name].size,
        )
        for name in weights
    ]
    move = sum(moved.values()) / STEPS / sum(graph[name].size for name in weights)
    return Drift(tuple(tensors), rate, move, STEPS)


def _sum(weights: Array) -> float:
    return float(np.abs(weights.astype(np.float64)).sum())


def _directions(
    compiled: Compiled, masters: Masters, sample: Array, random: np.random.Generator
) -> tuple[int, Masters]:
    """A label drawn from the prediction, and G / s of every trained tensor for it, in codes."""
    graph = training_graph(compiled)
    parameters = {
        name: np.rint(master).astype(np.dtype(graph[name].dtype))
        for name, master in masters.items()
    }
    inputs = {graph.inputs[0]: sample}
    forward = compiled.infer.graph
    logits = logits_of(forward)
    codes = evaluate(forward, {forward.inputs[0]: sample}, parameters=parameters)[logits]
    quant = forward[logits].quant
    row = (codes.reshape(-1).astype(np.float64) - quant.zero_point0) * quant.scale0
    chances = np.exp(row - row.max())
    label = int(random.choice(len(row), p=chances / chances.sum()))
    run = evaluate(graph, inputs, parameters=parameters, step=Step(label=label), real=True)
    return label, {name: run.gradients[name] / code_of(graph, name) for name in masters}


def code_of(graph: Graph, name: str) -> Array:
    """What one code of a trained tensor is worth, in a shape that broadcasts to it: s_w of weights,
    s_x · s_w of biases."""
    op = next(op for op in graph.ops if op.phase == "forward" and name in op.inputs)
    blocks = [graph[block].quant for block in (op.inputs[1], *op.inputs[3:4]) if block]
    depthwise = op.kind == "depthwise_conv2d"
    scales = np.array(blocks[0].scale)
    if graph[name].dtype == "int32":
        if depthwise and blocks[0].axis is not None:
            scales = np.concatenate([block.scale for block in blocks])
        return np.asarray(graph[op.inputs[0]].quant.scale0 * scales)
    if len(scales) == 1 or depthwise:
        return scales
    return scales.reshape(-1, *[1] * (len(graph[name].shape) - 1))
