"""Placement by branch and bound: to the optimum, or to the proof that there is no better one.

A placement decides for each pair of buffers in each other's way which one begins first, at a
distance.  Given some of these decisions, every buffer has a lowest possible offset (the longest
path through the distances); its end bounds the arena from below.  Where two buffers still overlap
at their lowest offsets, both decisions are tried in turn.  The number of nodes is limited, so that
the result is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tinykit.ir import Array

NODES = 4000


@dataclass(frozen=True)
class Problem:
    """sizes of buffers in bytes; apart[i, j] = (low, high): buffer i may not begin more than low
    and less than high bytes behind j; fixed: offsets that are given."""

    sizes: Sequence[int]
    apart: Mapping[tuple[int, int], tuple[int, int]]
    fixed: Mapping[int, int]


@dataclass
class _Tree:
    task: Problem
    limit: int  # only a smaller arena is of interest
    bound: int
    nodes: int = 0
    best: list[int] | None = None
    complete: bool = False  # nothing better exists
    sizes: Array = field(init=False)
    pairs: Array = field(init=False)  # rows i, j, low, high: the pairs of the largest buffers first

    def __post_init__(self) -> None:
        sizes = self.task.sizes
        self.sizes = np.array(sizes, np.int64)
        pairs = sorted(
            (pair for pair in self.task.apart if pair[0] < pair[1]),
            key=lambda pair: -min(sizes[pair[0]], sizes[pair[1]]),
        )
        rows = [(*pair, *self.task.apart[pair]) for pair in pairs]
        self.pairs = np.array(rows, np.int64).reshape(-1, 4).T.copy()

    def raised(self, offsets: list[int], behind: list[list[tuple[int, int]]], start: int) -> bool:
        """Push buffers up until all decided distances hold; False if the limit is in the way."""
        waiting = [start]
        sizes, fixed = self.task.sizes, self.task.fixed
        while waiting:
            j = waiting.pop()
            for i, distance in behind[j]:
                least = offsets[j] + distance
                if offsets[i] < least:
                    if least + sizes[i] >= self.limit or i in fixed:
                        return False
                    offsets[i] = least
                    waiting.append(i)
        return True

    def conflict(self, offsets: Array) -> tuple[int, int] | None:
        """The first pair of buffers that are in each other's way."""
        i, j, low, high = self.pairs
        behind = offsets[i] - offsets[j]
        found = ((low < behind) & (behind < high)).nonzero()[0]
        return (int(i[found[0]]), int(j[found[0]])) if len(found) else None

    def search(self, offsets: list[int], behind: list[list[tuple[int, int]]]) -> None:
        """Depth first; decisions that move less are tried first."""
        stack = [(offsets, behind)]
        while stack and self.nodes < NODES:
            offsets, behind = stack.pop()
            self.nodes += 1
            placed = np.array(offsets, np.int64)
            end = int((placed + self.sizes).max(initial=0))
            if end >= self.limit:
                continue
            pair = self.conflict(placed)
            if pair is None:
                self.best, self.limit = offsets, end
                if self.limit <= self.bound:
                    self.complete = True
                    return
                continue
            children = []
            for i, j in (pair, pair[::-1]):
                distance = self.task.apart[i, j][1]
                decided = list(behind)
                decided[j] = [*decided[j], (i, distance)]
                moved = list(offsets)
                if self.raised(moved, decided, j):
                    children.append((sum(moved), moved, decided))
            children.sort(key=lambda child: -child[0])
            stack += [(moved, decided) for _, moved, decided in children]
        self.complete = not stack


def improve(
    task: Problem, offsets: Mapping[int, int], total: int, bound: int
) -> tuple[dict[int, int], bool]:
    """The best placement found, at most `total` bytes, and whether no better one exists."""
    tree = _Tree(task, total, bound)
    lowest = [task.fixed.get(i, 0) for i in range(len(task.sizes))]
    tree.search(lowest, [[] for _ in task.sizes])
    found = dict(offsets) if tree.best is None else dict(enumerate(tree.best))
    return found, tree.complete
