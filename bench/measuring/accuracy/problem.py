"""What a task gives: a quantized network, samples to learn from, samples to be tested on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinykit.ir import Array, Graph
from tinykit.training.plan import Optimizer, Plan, Training, Update

SHARE = 0.2  # of the training samples, for choosing learning rates


@dataclass(frozen=True)
class Labelled:
    """int8 [n, …input shape] with n class numbers."""

    x: NDArray[np.int8]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, chosen: Array) -> Labelled:
        """Some of them, by number."""
        return Labelled(self.x[chosen], self.y[chosen])


Head = Mapping[str, Array]  # what a seed puts in place of constants of the graph, by name


@dataclass(frozen=True)
class Problem:
    """One user's share of a task.

    train, test:  of the user; calibration: for the exponents of the gradients
    head:         a fresh head for a seed; None: the network's own head goes on learning
    held:         what rates are chosen on, without the test samples; None: SHARE of the training
                  samples take their place
    """

    graph: Graph
    train: Labelled
    test: Labelled
    calibration: Labelled
    head: Callable[[int], Head] | None = None
    held: Problem | None = None

    def validation(self) -> Problem:
        """The same without its test samples."""
        if self.held is not None:
            return self.held
        learnt, held = validation_parts(self.train.y)
        return replace(self, train=self.train.take(learnt), test=self.train.take(held))


def validation_parts(y: Array) -> tuple[Array, Array]:
    """(to learn from, to be measured on): indices, SHARE of each class in the latter."""
    random = np.random.default_rng(7)
    held = np.zeros(len(y), bool)
    for label in np.unique(y):
        own = np.flatnonzero(y == label)
        held[random.permutation(own)[: max(1, round(SHARE * len(own)))]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


@dataclass(frozen=True)
class Way:
    """What learns, and for how long: updates of a plan, rates to try, the rate that was chosen."""

    update: tuple[Update, ...]
    rates: tuple[float, ...]
    epochs: int
    skip_below: float = 0.0  # see tinykit.training.plan
    warmup: int = 0  # steps

    def plan(self, rate: float, seed: int, samples: int, **changes: object) -> Plan:
        """Plain SGD, one sample a step, for `epochs` of so many samples; the rate falls to 0.

        changes: of the optimizer, or of the training section.
        """
        optimizer = Optimizer(
            learning_rate=rate,
            schedule="linear",
            total_steps=self.epochs * samples,
            skip_below=self.skip_below,
            warmup_steps=self.warmup,
            seed=seed + 1,
        )
        training = {key: changes.pop(key) for key in [*changes] if key in Training.model_fields}
        return Plan(
            name="accuracy",
            optimizer=optimizer.model_copy(update=changes),
            training=Training().model_copy(update=training),
            update=self.update,
        )


@dataclass(frozen=True, eq=False)
class Task:
    """A data set with a network that knows a part of it, and the users that are new to it.

    problem: makes what a case (a person, say) gives, in a folder that may keep what takes long.
    """

    name: str
    title: str
    cases: tuple[str, ...]
    ways: Mapping[str, Way]
    problem: Callable[[str, Path], Problem]
    sparse: str = "sparse"  # the way that is compared with head only
    notes: tuple[str, ...] = ()
    apart: bool = False  # its ways take long: a process for each


HEAD = Update(layers="head", bias=True, weights=1.0)
BIASES = Update(layers="all", bias=True)
FULL = (Update(layers="all", bias=True, weights=1.0),)
HEAD_ONLY = (HEAD,)


def orders(count: int, epochs: int, seed: int) -> Array:
    """The sample of each step: every epoch all samples in another order."""
    random = np.random.default_rng(seed + 1000)
    found: Array = np.concatenate([random.permutation(count) for _ in range(epochs)])
    return found
