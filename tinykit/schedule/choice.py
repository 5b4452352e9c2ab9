"""Which ops run row by row: the choice of segments.

The ops in order are cut into intervals; an interval of one op runs layer by layer, a longer one
streams.  Each interval has a price in bytes (its liveness bound, with all that waits meanwhile) and
in instructions (estimated, more than layer by layer).  The cheapest cut below a limit in bytes is a
shortest path, found by dynamic programming; lowering the limit step by step gives the curve.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tinykit.schedule.facts import Facts
from tinykit.schedule.lives import lives
from tinykit.schedule.segments import Segment, alone, begun, longer, overhead


@dataclass(frozen=True)
class Cut:
    """Segments of a whole program; bytes: the largest liveness bound among them."""

    segments: tuple[Segment, ...]
    bytes: int
    overhead: int


@dataclass
class Choice:
    """The intervals of a graph, by (first, last), and their prices.

    Those of one op are known from the beginning; longer ones are priced when a limit in bytes asks
    for them.  `runs` has the segments that begin with an op, while their rings need less than layer
    by layer.
    """

    facts: Facts
    segments: dict[tuple[int, int], Segment] = field(init=False)
    peaks: dict[tuple[int, int], int] = field(init=False)
    prices: dict[tuple[int, int], int] = field(init=False)
    runs: dict[int, list[Segment]] = field(init=False)
    most: int = field(init=False)  # bytes that layer by layer needs
    least: int = field(init=False)  # bytes that the ops need which cannot stream

    def __post_init__(self) -> None:
        self.segments, self.peaks, self.prices, self.runs = {}, {}, {}, {}
        # Rows that arrive one by one go through the first interval, which is not one op by itself.
        begin = 1 if self.facts.input_rows else 0
        for index in range(begin, len(self.facts.graph.ops)):
            self._add(alone(self.facts, index))
        self.most = max(self.peaks.values(), default=0)
        forms = self.facts.forms
        self.least = max((n for (i, _), n in self.peaks.items() if forms[i] is None), default=0)

    def _add(self, segment: Segment) -> None:
        key = segment.first, segment.last
        self.segments[key] = segment
        self.peaks[key] = lives(self.facts, segment).peak()
        self.prices[key] = overhead(self.facts, segment)

    def _stream(self, limit: int | None) -> None:
        """Price the runs of ops, one of which needs more than `limit` bytes by itself: for others
        it costs nothing to run layer by layer."""
        rows, count = self.facts.input_rows, len(self.facts.graph.ops)
        alone = [self.peaks.get((index, index), 0) for index in range(count)]
        large = [limit is not None and size > limit for size in alone]
        for first in range(count):
            fed = rows and first == 0
            if not fed and not any(large[first : self._end(first)]):
                continue
            for segment in self._run(first):
                last = segment.last
                wanted = fed or any(large[first : last + 1])
                if wanted and (first, last) not in self.segments:
                    self._add(segment)

    def _end(self, first: int) -> int:
        """One past the ops from `first` on that have a row form."""
        forms = self.facts.forms
        return next((i for i in range(first, len(forms)) if forms[i] is None), len(forms))

    def _run(self, first: int) -> list[Segment]:
        if first in self.runs:
            return self.runs[first]
        facts, found = self.facts, self.runs.setdefault(first, [])
        fed = facts.input_rows and first == 0
        least = first if fed else first + 1
        if fed:
            least = max((index for index, _ in facts.readers[facts.graph.inputs[0]]), default=0)
        segment = begun(facts, first)
        for last in range(first, self._end(first)):
            segment = longer(facts, segment)
            if last >= least:
                found.append(segment)
            ring_bytes = sum(
                rows * (facts.bytes(name) // facts.rows(name))
                for name, rows in segment.rings.items()
            )
            if ring_bytes >= self.most and not facts.input_rows:
                break
        return found

    def cheapest(self, limit: int | None = None) -> Cut | None:
        """The cut with the fewest instructions whose intervals all need at most `limit` bytes."""
        if limit is not None and limit < self.least:
            return None
        self._stream(limit)
        count = len(self.facts.graph.ops)
        best: list[tuple[int, int, int] | None] = [(0, 0, 0)] + [None] * count
        # (instructions, steps that stream, first op of the last interval) up to each op
        by_last: dict[int, list[tuple[int, int]]] = {}
        for first, last in self.segments:
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
            tuple(self.segments[key] for key in keys),
            max((self.peaks[key] for key in keys), default=0),
            sum(self.prices[key] for key in keys),
        )

    def curve(self, limit: int | None = None) -> Iterator[Cut]:
        """The cuts that no other beats in both bytes and instructions, from the largest down that
        needs at most `limit` bytes; each is looked for when it is asked for."""
        cut = self.cheapest(limit)
        while cut is not None:
            yield cut
            cut = self.cheapest(cut.bytes - 1)
