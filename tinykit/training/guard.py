"""The guard against divergence: its limits, and what firmware/lib/tinykit/src/guard.c does, by the
NumPy reference."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array
from tinykit.ops.evaluate import Step
from tinykit.ops.target import Target, TargetForm
from tinykit.ops.update import is_state
from tinykit.training.loss import GROWING, SIGMOID, SOFTMAX, target_form
from tinykit.training.plan import Guard
from tinykit.training.reference import ReferenceTrainer

UNIT = 2**32  # of losses, as integers
LARGEST_LOSS = 2**15  # of one step
NO_LIMIT = 2**64 - 1
LIMIT, FLOOR = 2.0, 0.25  # times the loss of guessing: by default
MOST_ROLLBACKS = 255
MOST_DROPS = 64  # of the learning rate
BEGIN_ANEW = ("residual", "momentum")


@dataclass(frozen=True)
class Limits:
    """What a window's sum of losses is held against, in units of 2^-32.

    limit: the sum may reach it; factor: or that many 256ths of the best one's, or of floor.
    """

    limit: int
    factor: int
    floor: int

    @classmethod
    def of(cls, guard: Guard, form: TargetForm) -> Limits:
        """Raises PlanError where neither limit nor factor says anything."""
        mean = mean_limit(guard, form)
        if mean == 0 and guard.factor == 0:
            raise PlanError(
                f"[guard] watches nothing: {form.loss} has no limit by default",
                "give limit, a mean loss, or factor",
            )
        limit = int(mean * UNIT) * guard.window if mean > 0 else NO_LIMIT
        floor = int(mean_floor(guard, form) * UNIT) * guard.window
        return cls(limit, round(guard.factor * 256), floor)

    def most(self, best: int | None) -> int:
        """The largest sum that a window may reach, after the best one."""
        if self.factor == 0 or best is None:
            return self.limit
        return min(self.limit, (max(best, self.floor) >> 8) * self.factor)


def mean_limit(guard: Guard, form: TargetForm) -> float:
    """The mean loss above which a window diverges; 0: there is no such."""
    return LIMIT * guessing(form) if guard.limit is None else guard.limit


def mean_floor(guard: Guard, form: TargetForm) -> float:
    """The mean loss that the best window counts as having at least."""
    return FLOOR * guessing(form) if guard.floor is None else guard.floor


def guessing(form: TargetForm) -> float:
    """The loss where all answers are equally likely; 0: it is not of that kind."""
    if form.loss in (SOFTMAX, GROWING):
        return math.log(form.classes)
    return math.log(2) if form.loss == SIGMOID else 0.0


@dataclass
class GuardedTrainer(ReferenceTrainer):
    """A reference trainer with a guard.

    best: the smallest sum of a whole window; snapshot, candidate: parameters by name
    """

    guard: Guard = field(default_factory=Guard)
    limits: Limits = field(init=False)
    rollbacks: int = 0
    sum: int = 0
    window: int = 0  # steps of the one under way
    best: int | None = None
    snapshot: dict[str, Array] = field(init=False)
    candidate: dict[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.limits = Limits.of(self.guard, target_form(self.graph))
        self.snapshot = self.candidate = dict(self.parameters)

    def rate(self) -> float:
        """Of the next step."""
        rate = np.float32(super().rate())
        for _ in range(min(self.rollbacks, MOST_DROPS)):
            rate = np.float32(rate * np.float32(self.guard.rate_factor))
        return float(rate)

    def step(self, sample: Array, target: Target) -> Step:
        """One sample, and perhaps back to the snapshot."""
        step = super().step(sample, target)
        self.sum += int(min(max(float(step.loss), 0.0), LARGEST_LOSS) * UNIT)
        self.window += 1
        if self.sum > self.limits.most(self.best):
            self.back()
        elif self.window == self.guard.window:
            self.best = self.sum if self.best is None else min(self.sum, self.best)
            self.sum = self.window = 0
            now = dict(self.parameters)
            self.snapshot = self.candidate if self.guard.snapshots == 2 else now
            self.candidate = now
        return step

    def back(self) -> None:
        """To the snapshot."""
        for name, value in self.parameters.items():
            state = name.rpartition("/")[2] if is_state(name) else ""
            if state in BEGIN_ANEW:
                self.parameters[name] = np.zeros_like(value)
            elif state != "deviation":
                self.parameters[name] = self.snapshot[name]
        self.candidate = self.snapshot
        self.sum = self.window = self.pending = self.begun = 0
        self.rollbacks = min(self.rollbacks + 1, MOST_ROLLBACKS)
