"""Where each buffer lies: offsets such that bytes needed at the same time never overlap.

First fit over several orders (by size, by time, by length of life), from below and from above.
Then branch and bound (tinykit.schedule.exact), and where that comes to no end a seeded local
search: the buffers that hold up the highest one change places in the order.  All end when the
liveness bound is reached.  Compare Pisarchyk & Lee, "Efficient Memory Management for Deep Neural
Net Inference", 2020, and the hill climb of Arm's Vela compiler.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tinykit.schedule.exact import Problem, improve
from tinykit.schedule.facts import ALIGNMENT
from tinykit.schedule.liveness import Buffer, peak
from tinykit.schedule.lives import Distance

SEARCH_ROUNDS = 3000
SEARCH_PAIRS = 3_000_000  # rounds times pairs of buffers that are in each other's way
RESTART_AFTER = 300  # rounds without progress

Proof = Literal["bound reached", "optimal, bound not reachable", "best found"]


@dataclass(frozen=True)
class Placed:
    """Offsets in bytes by name of tensor, scratch or sums; `proof` says how good they are."""

    offsets: Mapping[str, int]
    bytes: int
    bound: int
    proof: Proof


def problem(
    found: Sequence[Buffer], distances: Sequence[Distance], pinned: Mapping[str, int]
) -> Problem:
    """All pairs of buffers that are in each other's way."""
    where = {name: index for index, buffer in enumerate(found) for name in buffer.names}
    pairs: dict[tuple[int, int], tuple[int, int]] = {}

    def add(i: int, j: int, low: int, high: int) -> None:
        low, high = low // ALIGNMENT * ALIGNMENT, -(-high // ALIGNMENT) * ALIGNMENT
        known = pairs.get((i, j), (low, high))
        pairs[i, j] = min(low, known[0]), max(high, known[1])
        pairs[j, i] = -pairs[i, j][1], -pairs[i, j][0]

    for i, buffer in enumerate(found):
        for j in range(i):
            apart = buffer.apart(found[j])
            if apart is not None:
                add(i, j, *apart)
    for distance in distances:
        i, j = where[distance.a], where[distance.b]
        if i != j:
            add(i, j, distance.low, distance.high)
    fixed = {i: pinned[n] for i, b in enumerate(found) for n in b.names if n in pinned}
    return Problem([buffer.bytes for buffer in found], pairs, fixed)


@dataclass
class _Fit:
    """First-fit placement of buffers in a given order; `mirrored` fits from the top down."""

    task: Problem
    mirrored: bool = False
    near: list[list[tuple[int, int, int]]] = field(init=False)
    near_bits: list[int] = field(init=False)  # the same buffers as bits of a number

    def __post_init__(self) -> None:
        self.near = [[] for _ in self.task.sizes]
        self.near_bits = [0] * len(self.task.sizes)
        for (i, j), (low, high) in self.task.apart.items():
            if self.mirrored:
                move = self.task.sizes[j] - self.task.sizes[i]
                low, high = move - high, move - low
            self.near[i].append((j, low, high))
            self.near_bits[i] |= 1 << j

    def __call__(self, order: Sequence[int]) -> dict[int, int]:
        """Offsets (from the top when mirrored, of the buffers' ends)."""
        offsets = dict(self.task.fixed)
        for index in order:
            if index not in offsets:
                offsets[index] = self._lowest(index, offsets)
        return offsets

    def again(
        self, order: Sequence[int], known: Mapping[int, int], a: int, b: int
    ) -> dict[int, int]:
        """The same for an order that differs in positions a and b, which changed places, from one
        whose offsets are known: only what is near a buffer that moves is fitted anew."""
        offsets, begin, end = dict(self.task.fixed), min(a, b), max(a, b)
        swapped = (1 << order[a]) | (1 << order[b])
        moved = 0  # as bits; between the two positions both that change places count as moved
        for position, index in enumerate(order):
            if index in offsets:
                continue
            near = self.near_bits[index] & (moved | swapped if begin < position < end else moved)
            place = known[index]
            if near or position in (begin, end):
                place = self._lowest(index, offsets)
                if place != known[index]:
                    moved |= 1 << index
            offsets[index] = place
        return offsets

    def _lowest(self, index: int, offsets: Mapping[int, int]) -> int:
        """The lowest place of a buffer between those that have theirs."""
        known = offsets.get
        busy = [
            (offset + low, offset + high)
            for other, low, high in self.near[index]
            if (offset := known(other)) is not None
        ]
        busy.sort()
        place = 0
        for low, high in busy:
            if low < place < high:
                place = high
        return place

    def total(self, offsets: Mapping[int, int]) -> int:
        return max((o + self.task.sizes[i] for i, o in offsets.items()), default=0)

    def pillar(self, offsets: Mapping[int, int], total: int) -> list[int]:
        """The highest buffers, what they rest on, and so on down."""
        pillar = [i for i, o in offsets.items() if o + self.task.sizes[i] == total]
        seen = set(pillar)
        for index in pillar:  # grows while it is walked
            for other, _, high in self.near[index]:
                if offsets[other] + high == offsets[index] and other not in seen:
                    seen.add(other)
                    pillar.append(other)
        return pillar

    def result(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Offsets from the bottom."""
        if not self.mirrored:
            return dict(offsets)
        total = self.total(offsets)
        return {i: total - o - self.task.sizes[i] for i, o in offsets.items()}


def _orders(found: Sequence[Buffer]) -> list[list[int]]:
    keys: list[Callable[[int], tuple[int, ...]]] = [
        lambda i: (-found[i].bytes, found[i].start),
        lambda i: (found[i].start, -found[i].bytes),
        lambda i: (-found[i].start, -found[i].bytes),
        lambda i: (-(found[i].end - found[i].start), -found[i].bytes),
        lambda i: (-found[i].bytes * (found[i].end - found[i].start),),
    ]
    return [sorted(range(len(found)), key=key) for key in keys]


def place(
    found: Sequence[Buffer],
    distances: Sequence[Distance] = (),
    pinned: Mapping[str, int] | None = None,
    rounds: int = SEARCH_ROUNDS,
) -> Placed:
    """Offsets in bytes; `pinned` names have theirs given."""
    task, bound = problem(found, distances, pinned or {}), peak(found)
    fits = [_Fit(task)] if task.fixed else [_Fit(task), _Fit(task, mirrored=True)]
    starts = [(fit, order) for fit in fits for order in _orders(found)]
    fit, order = min(starts, key=lambda start: start[0].total(start[0](start[1])))
    best = fit(order)
    total, offsets = fit.total(best), fit.result(best)
    complete = total <= bound
    tried = total
    if not complete:
        offsets, complete = improve(task, offsets, total, bound)
        total = max(o + task.sizes[i] for i, o in offsets.items())
    if not complete and total > bound and rounds:
        best = _search(fit, order, bound, min(rounds, SEARCH_PAIRS // len(task.apart)))
        if fit.total(best) < total:
            total, offsets = fit.total(best), fit.result(best)
        if bound < total < tried:  # else it would search in the same way again
            offsets, complete = improve(task, offsets, total, bound)
            total = max(o + task.sizes[i] for i, o in offsets.items())
    proof: Proof = "optimal, bound not reachable" if complete else "best found"
    if total <= bound:
        proof = "bound reached"
    names = {name: offsets[i] for i, buffer in enumerate(found) for name in buffer.names}
    return Placed(names, total, bound, proof)


def _search(fit: _Fit, best_order: list[int], bound: int, rounds: int) -> dict[int, int]:
    best = fit(best_order)
    best_total = fit.total(best)
    generator = random.Random(0)
    order, offsets, total, idle = best_order, best, best_total, 0
    for _ in range(rounds):
        if best_total <= bound:
            break
        trial = list(order)
        a = trial.index(generator.choice(fit.pillar(offsets, total)))
        b = generator.randrange(len(trial))
        trial[a], trial[b] = trial[b], trial[a]
        moved = fit.again(trial, offsets, a, b)
        size = fit.total(moved)
        idle += 1
        if size <= total or generator.random() < 0.02:
            idle = 0 if size < total else idle
            order, offsets, total = trial, moved, size
        if total < best_total:
            best_order, best, best_total = order, offsets, total
        if idle > RESTART_AFTER:
            order, offsets, total, idle = best_order, best, best_total, 0
    return best
