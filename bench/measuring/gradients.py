"""How near the engine's gradients are to the true ones, tensor by tensor, photo by photo.

The engine's are those of the integer backward pass: int16 gradients with the exponents that the
firmware has. The true ones are float64, straight through the rounding, on the activations and
masks that the same integer forward pass found (tinykit.ops.evaluate, real=True; the tests hold it
against TensorFlow's). Every photo is looked at once, from the parameters as they are: nothing is
run before it to settle on. That is done with a fresh head, and again after training steps by the C
engine on other photos.

The integers are NumPy's. That they are the engine's is proven: on every photo the C engine must
find the same loss, prediction and saturations, and the first steps of both must leave all
parameters equal, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.measuring.photos import Samples
from tinykit.codegen.generate import Compiled
from tinykit.codegen.saved import Saved
from tinykit.errors import PlanError, VerifyError
from tinykit.host import HostModel
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Step, evaluate
from tinykit.training.reference import ReferenceTrainer

FRESH, STEPS = "fresh head", 200
PROVEN = 5  # steps by both engines

Progress = Callable[[int, int], None]
Parameters = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Pair:
    """One tensor's gradient on one photo: cosine with the true one, and its norm by the true norm.
    No cosine where both are 0; 0 where only one is."""

    tensor: str
    photo: str
    state: str
    cosine: float | None
    ratio: float | None


@dataclass(frozen=True)
class Gradients:
    """All pairs; those with and without a true gradient apart. `saturations` counts values that did
    not fit int16."""

    pairs: tuple[Pair, ...]
    zero: tuple[Pair, ...]
    photos: int
    steps: int
    saturations: int

    @property
    def worst(self) -> Pair:
        """The pair of the smallest cosine."""
        return min(self.pairs, key=lambda pair: pair.cosine or 0.0)

    @property
    def min_cosine(self) -> float:
        """The smallest cosine."""
        return self.worst.cosine or 0.0

    @property
    def ratios(self) -> tuple[float, float]:
        """The smallest and the largest ratio of norms."""
        ratios = [pair.ratio for pair in self.pairs if pair.ratio is not None]
        return min(ratios, default=0.0), max(ratios, default=0.0)

    def tensors(self) -> Iterable[tuple[str, list[Pair], int]]:
        """By tensor: its pairs, and how often its true gradient was 0."""
        for name in dict.fromkeys(pair.tensor for pair in (*self.pairs, *self.zero)):
            pairs = [pair for pair in self.pairs if pair.tensor == name]
            yield name, pairs, sum(pair.tensor == name for pair in self.zero)


def check(
    compiled: Compiled, host: HostModel, samples: Samples, progress: Progress | None = None
) -> Gradients:
    """Both states, all checked photos; `host` is the compiled model, and is reset.

    Raises VerifyError where a step of NumPy and one of C differ.
    """
    training = training_graph(compiled)
    pairs: list[Pair] = []
    saturations = counted = done = 0
    _prove(compiled, host, samples)
    host.reset()
    for state, steps in ((FRESH, 0), (f"after {STEPS} steps", STEPS)):
        for index in range(steps):
            counted = host.train(*samples.learnt.step(index)).saturations
        saved, parameters = host.save(), parameters_of(host, training)
        headroom = Saved.parse(saved, "the engine").headroom
        for index, name in enumerate(samples.names):
            sample, label = samples.checked.step(index)
            step = Step(label=label, learning_rate=0.01, headroom=headroom)
            found = _pairs(training, parameters, sample, step, (name, state))
            pairs += found
            saturations += step.saturations
            host.load(saved)
            theirs = host.train(sample, label)
            if (step.loss, step.prediction, step.saturations) != (
                theirs.loss, theirs.prediction, theirs.saturations - counted,
            ):  # fmt: skip
                raise _differ(compiled, f"on {name}, {state}")
            done += 1
            if progress is not None:
                progress(done, 2 * len(samples.names))
        host.load(saved)
    if all(pair.cosine is None for pair in pairs):
        raise PlanError(f"{compiled.name}: no photo makes any gradient")
    return Gradients(
        pairs=tuple(pair for pair in pairs if pair.cosine is not None),
        zero=tuple(pair for pair in pairs if pair.cosine is None),
        photos=len(samples.names),
        steps=STEPS,
        saturations=saturations,
    )


def training_graph(compiled: Compiled) -> Graph:
    """The calibrated training graph."""
    if compiled.train is None:
        raise PlanError(f"{compiled.name}: has no update plan")
    return compiled.train.graph


def parameters_of(host: HostModel, graph: Graph) -> Parameters:
    """The engine's trained tensors and their residuals, by name."""
    block = host.parameters()
    return {
        p.name: graph[p.name].restored(
            np.frombuffer(block[p.offset : p.offset + p.bytes], np.dtype(p.dtype))
        )
        for p in host.manifest.parameters
    }


def _pairs(
    graph: Graph, parameters: Parameters, sample: Array, step: Step, names: tuple[str, str]
) -> list[Pair]:
    inputs = {graph.inputs[0]: sample}
    found = evaluate(graph, inputs, parameters=parameters, step=step).gradients
    true = evaluate(
        graph, inputs, parameters=parameters, step=Step(label=step.label), real=True
    ).gradients
    if not found:  # a plan may leave out the backward pass of samples that are certain
        return [Pair(name, *names, None, None) for name in true]
    return [pair_of(name, *names, found[name], true[name]) for name in true]


def pair_of(tensor: str, photo: str, state: str, found: Array, true: Array) -> Pair:
    """The comparison of two gradients, float64."""
    size, norm = float(np.linalg.norm(true)), float(np.linalg.norm(found))
    if size == 0.0:
        return Pair(tensor, photo, state, 0.0 if norm else None, None)
    cosine = float((found * true).sum()) / (size * norm) if norm else 0.0
    return Pair(tensor, photo, state, cosine, norm / size)


def _prove(compiled: Compiled, host: HostModel, samples: Samples) -> None:
    """Steps of both engines, from the beginning on."""
    assert compiled.plan is not None
    trainer = ReferenceTrainer(training_graph(compiled), compiled.plan.optimizer)
    host.reset()
    for index in range(PROVEN):
        sample, label = samples.checked.step(index)
        ours, theirs = trainer.step(sample, label), host.train(sample, label)
        after = parameters_of(host, trainer.graph)
        equal = (np.array_equal(value, after[name]) for name, value in trainer.parameters.items())
        if (ours.loss, ours.prediction) != (theirs.loss, theirs.prediction) or not all(equal):
            raise _differ(compiled, f"in step {index + 1}")


def _differ(compiled: Compiled, where: str) -> VerifyError:
    return VerifyError(
        f"{compiled.name}: NumPy's training and C's differ {where}",
        "`make test ARGS=tests/training` finds the operator",
    )
