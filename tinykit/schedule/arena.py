"""Where each buffer lies: offsets such that buffers needed at the same time never overlap.

First fit over several orders (by size, by time, by length of life), then a seeded local search:
the buffers that hold up the highest one change places in the order.  It ends when the liveness
bound is reached.  Compare Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net
Inference", 2020, and the hill climb of Arm's Vela compiler.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tinykit.schedule.liveness import Buffer, peak

SEARCH_ROUNDS = 3000
RESTART_AFTER = 300  # rounds without progress


@dataclass
class _Fit:
    """First-fit placement of buffers in a given order; `neighbours` are needed together."""

    found: Sequence[Buffer]
    pinned: Mapping[int, int]
    neighbours: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        indices = range(len(self.found))
        self.neighbours = [
            [j for j in indices if j != i and self.found[i].overlaps(self.found[j])]
            for i in indices
        ]

    def __call__(self, order: Sequence[int]) -> dict[int, int]:
        offsets = dict(self.pinned)
        for index in order:
            if index in offsets:
                continue
            size = self.found[index].bytes
            busy = sorted(
                (offsets[other], offsets[other] + self.found[other].bytes)
                for other in self.neighbours[index]
                if other in offsets
            )
            place = 0
            for low, high in busy:
                if place + size <= low:
                    break
                place = max(place, high)
            offsets[index] = place
        return offsets

    def total(self, offsets: Mapping[int, int]) -> int:
        return max((o + self.found[i].bytes for i, o in offsets.items()), default=0)

    def pillar(self, offsets: Mapping[int, int], total: int) -> list[int]:
        """The highest buffers, what they rest on, and so on down."""
        pillar = [i for i, o in offsets.items() if o + self.found[i].bytes == total]
        for index in pillar:  # grows while it is walked
            for other in self.neighbours[index]:
                touches = offsets[other] + self.found[other].bytes == offsets[index]
                if touches and other not in pillar:
                    pillar.append(other)
        return pillar


def place(found: Sequence[Buffer], pinned: Mapping[str, int]) -> dict[str, int]:
    """Offsets in bytes by name of tensor or scratch; `pinned` names have theirs given."""
    fit = _Fit(found, {i: pinned[n] for i, b in enumerate(found) for n in b.names if n in pinned})
    keys: list[Callable[[int], tuple[int, ...]]] = [
        lambda i: (-found[i].bytes, found[i].first),
        lambda i: (found[i].first, -found[i].bytes),
        lambda i: (-(found[i].last - found[i].first), -found[i].bytes),
        lambda i: (-found[i].bytes * (found[i].last - found[i].first + 1),),
    ]
    orders = [sorted(range(len(found)), key=key) for key in keys]
    best_order = min(orders, key=lambda order: fit.total(fit(order)))
    best = fit(best_order)
    best_total, bound = fit.total(best), peak(list(found))

    generator = random.Random(0)
    order, offsets, total, idle = best_order, best, best_total, 0
    for _ in range(SEARCH_ROUNDS):
        if best_total <= bound:
            break
        trial = list(order)
        a = trial.index(generator.choice(fit.pillar(offsets, total)))
        b = generator.randrange(len(trial))
        trial[a], trial[b] = trial[b], trial[a]
        moved = fit(trial)
        size = fit.total(moved)
        idle += 1
        if size <= total or generator.random() < 0.02:
            idle = 0 if size < total else idle
            order, offsets, total = trial, moved, size
        if total < best_total:
            best_order, best, best_total = order, offsets, total
        if idle > RESTART_AFTER:
            order, offsets, total, idle = best_order, best, best_total, 0
    return {name: best[i] for i, buffer in enumerate(found) for name in buffer.names}
