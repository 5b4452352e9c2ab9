"""Which ops run row by row: the choice of segments.

The ops in order are cut into intervals; an interval of one op runs layer by layer, a longer one
streams.  Each interval has a price in bytes (its liveness bound, with all that waits meanwhile) and
in instructions (estimated, more than layer by layer).  The cheapest cut below a limit in bytes is a
shortest path, found by dynamic programming; lowering the limit step by step gives the curve.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tinykit.schedule.facts import Facts
from tinykit.schedule.lives import Lives, lives
from tinykit.schedule.segments import Segment, alone, overhead, stream


@dataclass(frozen=True)
class Cut:
    """Segments of a whole program; bytes: the largest liveness bound among them."""

    segments: tuple[Segment, ...]
    bytes: int
    overhead: int


@dataclass
class Choice:
    """All intervals of a graph, with their prices; by (first, last)."""

    facts: Facts
    found: dict[tuple[int, int], Lives] = field(init=False)
    peaks: dict[tuple[int, int], int] = field(init=False)
    prices: dict[tuple[int, int], int] = field(init=False)

    def __post_init__(self) -> None:
        self.found, self.peaks, self.prices = {}, {}, {}
        facts, count = self.facts, len(self.facts.graph.ops)
        if not facts.input_rows:
            for index in range(count):
                self._add(lives(facts, alone(facts, index)))
        self._stream(max(self.peaks.values(), default=None))

    def _add(self, item: Lives) -> int:
        key = item.segment.first, item.segment.last
        self.found[key] = item
        self.peaks[key] = item.peak()
        self.prices[key] = overhead(self.facts, item.segment)
        return self.peaks[key]

    def _stream(self, most: int | None) -> None:
        """All runs of ops that have a row form, while their rings need less than layer by layer."""
        facts, count = self.facts, len(self.facts.graph.ops)
        least = 0
        if facts.input_rows:  # rows that arrive one by one all go through the first interval
            least = max(index for index, _ in facts.readers[facts.graph.inputs[0]])
        for first in range(count):
            for last in range(first, count):
                if facts.forms[last] is None:
                    break
                if last == first and not (facts.input_rows and first == 0):
                    continue
                if first == 0 and last < least:
                    continue
                segment = stream(facts, first, last)
                self._add(lives(facts, segment))
                rows = sum(
                    ring * (facts.bytes(name) // facts.rows(name))
                    for name, ring in segment.rings.items()
                )
                if most is not None and rows >= most:
                    break
        if facts.input_rows:
            for index in range(1, count):
                self._add(lives(facts, alone(facts, index)))

    def cheapest(self, limit: int | None = None) -> Cut | None:
        """The cut with the fewest instructions whose intervals all need at most `limit` bytes."""
        count = len(self.facts.graph.ops)
        best: list[tuple[int, int, int] | None] = [(0, 0, 0)] + [None] * count
        # (instructions, steps that stream, first op of the last interval) up to each op
        by_last: dict[int, list[tuple[int, int]]] = {}
        for first, last in self.found:
            if limit is None or self.peaks[first, last] <= limit:
                by_last.setdefault(last, []).append((first, last))
        for last in range(count):
            options = []
            for first, _ in by_last.get(last, ()):
                before = best[first]
                if before is not None:
                    price = before[0] + self.prices[first, last]
                    options.append((price, before[1] + last - first, first))
            best[last + 1] = min(options, default=None)
        if best[count] is None:
            return None
        keys, end = [], count
        while end > 0:
            step = best[end]
            assert step is not None
            keys.append((step[2], end - 1))
            end = step[2]
        keys.reverse()
        return Cut(
            tuple(self.found[key].segment for key in keys),
            max((self.peaks[key] for key in keys), default=0),
            sum(self.prices[key] for key in keys),
        )

    def curve(self) -> list[Cut]:
        """The cuts that no other beats in both bytes and instructions, from the largest down."""
        cuts: list[Cut] = []
        cut = self.cheapest()
        while cut is not None:
            cuts.append(cut)
            cut = self.cheapest(cut.bytes - 1)
        return cuts
