"""Buffers: which bytes of the arena are needed when, over the whole program.

A buffer holds one or more arena tensors: views of the same bytes (reshape) and results written
over an input that nobody needs any more (in place).  Scratch memory of an op, and the sums of a
folding one, are buffers, too.  A tensor is not needed as a whole all the time: its rows come one
after the other and go one after the other, so buffers may share memory while both are in use, at a
distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tinykit.ir import Array, Graph
from tinykit.schedule.facts import Facts, aligned
from tinykit.schedule.lives import Distance, Life, Lives, Whole, lives
from tinykit.schedule.segments import alone


@dataclass(frozen=True, eq=False)
class Buffer:
    """`bytes` of arena, needed from op `first` to op `last`, both included.

    life: what is needed of it from moment `start` on; see tinykit.schedule.lives
    """

    names: tuple[str, ...]
    bytes: int
    first: int
    last: int
    start: int
    life: Life

    @property
    def end(self) -> int:
        """One past the last moment."""
        return self.start + len(self.life.low)

    def apart(self, other: Buffer) -> tuple[int, int] | None:
        """(low, high): this one may not begin more than low and less than high bytes behind the
        other.  None: they are never needed at the same time."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        if start >= end:
            return None
        mine, theirs = (
            slice(start - self.start, end - self.start),
            slice(start - other.start, end - other.start),
        )
        low, high = self.life.low[mine], self.life.high[mine]
        other_low, other_high = other.life.low[theirs], other.life.high[theirs]
        both = (low < high) & (other_low < other_high)
        if not both.any():
            return None
        return int((other_low - high)[both].min()), int((other_high - low)[both].max())


@dataclass
class _Parts:
    """A buffer under construction."""

    names: list[str]
    lives: dict[int, Life | Whole] = field(default_factory=dict)  # by segment


def merge(facts: Facts, found: Sequence[Lives]) -> tuple[list[Buffer], list[Distance]]:
    """The buffers of a program made of these segments, and the distances within single steps."""
    views = facts.views
    parts: dict[str, _Parts] = {}
    starts = np.cumsum([0, *(item.moments for item in found)])
    for number, item in enumerate(found):
        over = dict(item.merged)
        # The input of an op in place comes before its output here: graph order.
        for name, life in item.found.items():
            part = parts.get(name)
            if part is None and name in over:
                part = parts[name] = parts[over[name]]
                part.names += views[name]
            elif part is None:
                part = parts[name] = _Parts(list(views.get(name, [name])))
            known = part.lives.get(number)
            part.lives[number] = life if known is None else known.united(life)
    buffers = [_idle(facts, name) for name in facts.graph.inputs if not found]
    for part in {id(part): part for part in parts.values()}.values():
        buffers.append(_buffer(facts, part, found, starts))
    return buffers, [distance for item in found for distance in item.distances]


def _idle(facts: Facts, name: str) -> Buffer:
    """The input of a graph without ops."""
    size = facts.bytes(name)
    views = tuple(facts.views[name])
    return Buffer(views, aligned(size), 0, 0, 0, Life(np.zeros(2, np.int64), np.full(2, size)))


def _buffer(facts: Facts, part: _Parts, found: Sequence[Lives], starts: Array) -> Buffer:
    first, last = min(part.lives), max(part.lives)
    pieces = []
    for number in range(first, last + 1):
        nothing = Whole(found[number].moments, slice(0), 0)
        pieces.append(part.lives.get(number, nothing))
    low, high = (np.concatenate([getattr(p, name) for p in pieces]) for name in ("low", "high"))
    alive = np.flatnonzero(low < high)
    begin, end = (int(alive[0]), int(alive[-1]) + 1) if len(alive) else (0, 1)
    steps = np.concatenate([found[number].segment.steps for number in range(first, last + 1)])
    ops = np.maximum(steps[begin // 2 : (end + 1) // 2], 0)
    return Buffer(
        tuple(part.names),
        aligned(int(high.max())),
        int(ops.min()),
        int(ops.max()),
        int(starts[first]) + begin,
        Life(low[begin:end], high[begin:end]),
    )


def needed(found: Sequence[Buffer]) -> Array:
    """Bytes needed at each moment."""
    total = np.zeros(max((buffer.end for buffer in found), default=1), np.int64)
    for buffer in found:
        total[buffer.start : buffer.end] += buffer.life.words
    return total


def peak(found: Sequence[Buffer]) -> int:
    """The liveness bound in bytes: no placement of these buffers can need less."""
    return int(needed(found).max())


def layer_by_layer(graph: Graph, keep_input: bool = False) -> list[Buffer]:
    """The buffers of a graph whose ops run one after the other."""
    facts = Facts(graph, keep_input)
    return merge(facts, [lives(facts, alone(facts, i)) for i in range(len(graph.ops))])[0]
