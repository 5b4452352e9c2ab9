"""Means, spreads and differences of results that were made from the same seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.measuring.accuracy.store import Cell, Result

# Student's t for 95 %, two-sided, by degrees of freedom from 1; beyond them the expansion in 1 / n
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
Z_95 = 1.959964


def student(freedom: int) -> float:
    """The two-sided 95 % quantile (Abramowitz and Stegun, 26.7.5, from ten degrees on)."""
    if freedom <= len(T_95):
        return T_95[freedom - 1]
    z = Z_95
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


@dataclass(frozen=True)
class Interval:
    """Mean of n values, their standard deviation, half the width of the mean's 95 % interval."""

    mean: float
    deviation: float
    half: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Interval:
        """NaN where there are too few values."""
        x = np.array(list(values), float)
        if len(x) == 0:
            return cls(math.nan, math.nan, math.nan, 0)
        if len(x) == 1:
            return cls(float(x[0]), math.nan, math.nan, 1)
        deviation = float(x.std(ddof=1))
        half = student(len(x) - 1) * deviation / math.sqrt(len(x))
        return cls(float(x.mean()), deviation, half, len(x))

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.mean - self.half


Key = Callable[[Cell], Hashable]


@dataclass(frozen=True)
class Pair:
    """Two results that differ in one thing; `difference` in points of accuracy."""

    first: Result
    second: Result

    @property
    def difference(self) -> float:
        return self.first.after - self.second.after


def paired(first: Iterable[Result], second: Iterable[Result], key: Key) -> list[Pair]:
    """Those of both that have equal keys; what has no partner is left out. Raises ValueError where
    a key is there twice on one side."""
    others = _by_key(second, key)
    return [
        Pair(result, others[name]) for name, result in _by_key(first, key).items() if name in others
    ]


def _by_key(results: Iterable[Result], key: Key) -> dict[Hashable, Result]:
    found: dict[Hashable, Result] = {}
    for result in results:
        name = key(result.cell)
        if name in found:
            raise ValueError(f"two results of {name}")
        found[name] = result
    return found


def pooled(pairs: Sequence[Pair]) -> Interval:
    """The difference over tasks. Pairs of one task and seed share samples, so they count as one:
    their mean."""
    groups: dict[Hashable, list[float]] = {}
    for pair in pairs:
        cell = pair.first.cell
        groups.setdefault((cell.task, cell.seed), []).append(pair.difference)
    return Interval.of(float(np.mean(values)) for values in groups.values())


def over_seeds(results: Iterable[Result], cases: int) -> Interval:
    """Of each seed's mean over cases; seeds that lack a case are left out."""
    groups: dict[int, list[float]] = {}
    for result in results:
        groups.setdefault(result.cell.seed, []).append(result.after)
    return Interval.of(float(np.mean(g)) for g in groups.values() if len(g) == cases)
