"""The replay buffer by the NumPy reference: what firmware/lib/tinykit/src/replay.c does.

A class-balanced reservoir: Chrysakis and Moens, "Online Continual Learning from Imbalanced Data",
ICML 2020.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from tinykit.ir import Array
from tinykit.ops.evaluate import Step
from tinykit.ops.gradient_arithmetic import hash_base, hash_numbers
from tinykit.ops.target import Target
from tinykit.training.plan import Replay
from tinykit.training.reference import ReferenceTrainer

TENSOR = 0xFFFFFFFF  # the number under which random numbers are drawn


@dataclass
class Reservoir:
    """Past samples, slot by slot. A sample's group is its class, -1 where it has none."""

    capacity: int
    seed: int
    samples: list[tuple[Array, Target]] = field(default_factory=list)
    seen: Counter[int] = field(default_factory=Counter)  # by group
    full: set[int] = field(default_factory=set)  # groups that have had the most samples

    def insert(self, step: int, sample: Array, target: Target) -> None:
        """A new sample, after `step` steps."""
        group = _group(target)
        self.seen[group] += 1
        if len(self.samples) < self.capacity:
            self.samples.append((sample, target))
            return
        counts = Counter(_group(target) for _, target in self.samples)
        largest = min(counts, key=lambda g: (-counts[g], g if g >= 0 else np.inf))
        self.full.add(largest)
        if group not in self.full or not counts[group]:
            group, number = largest, self._below(step, 0, counts[largest])
        else:
            number = self._below(step, 0, self.seen[group])
        slots = [i for i, (_, target) in enumerate(self.samples) if _group(target) == group]
        if number < len(slots):
            self.samples[slots[number]] = sample, target

    def draw(self, step: int, number: int) -> tuple[Array, Target] | None:
        """The sample that is replayed as number 0, 1 … after `step` steps."""
        if not self.samples:
            return None
        return self.samples[self._below(step, number + 1, len(self.samples))]

    def _below(self, step: int, number: int, count: int) -> int:
        noise = hash_numbers(hash_base(self.seed, step, TENSOR), number + 1)[number]
        return int(noise) * count >> 32


def _group(target: Target) -> int:
    return -1 if target is None or isinstance(target, np.ndarray) else int(target)


@dataclass
class ReplayTrainer:
    """A reference trainer with a buffer of raw samples: bits as with features kept of them."""

    trainer: ReferenceTrainer
    replay: Replay
    past: Reservoir = field(init=False)

    def __post_init__(self) -> None:
        self.past = Reservoir(self.replay.samples, self.trainer.optimizer.seed)

    def step(self, sample: Array, target: Target) -> Step:
        """A new sample, and old ones; prediction and loss are the new one's, `updated` all's."""
        step = self.trainer.step(sample, target)
        number = self.trainer.steps
        for i in range(self.replay.per_step):
            old = self.past.draw(number, i)
            if old is not None:
                step.updated += self.trainer.step(*old).updated
        self.past.insert(number, sample, target)
        return step
