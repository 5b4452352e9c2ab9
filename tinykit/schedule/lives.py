"""Which bytes of each buffer are needed when, within one segment.

Every step counts as two moments.  At the first, what the step reads is still there; at the second,
what it makes is there.  Usually both are there at both; only where a kernel may write over what it
has read does the input end with the first moment and the output begin with the second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tinykit.ir import Array
from tinykit.schedule.facts import ALIGNMENT, Facts, aligned, scratch_name, sums_name
from tinykit.schedule.segments import Segment, first_needed, form_of, made_rows


@dataclass(frozen=True)
class Life:
    """At moment t the bytes [low[t], high[t]) of a buffer are needed; none where low >= high."""

    low: Array
    high: Array

    @property
    def words(self) -> Array:
        """Bytes needed at each moment, counted as the words that begin in them."""
        first, end = (bound + (ALIGNMENT - 1) & -ALIGNMENT for bound in (self.low, self.high))
        return np.maximum(end - first, 0)

    def add_to(self, total: Array) -> None:
        """Count the bytes needed at each moment."""
        total += self.words

    def united(self, other: Life | Whole) -> Life:
        """The life of a buffer that holds both."""
        mine, theirs = self.low < self.high, other.low < other.high
        low = np.where(mine & theirs, np.minimum(self.low, other.low),
                       np.where(theirs, other.low, self.low))  # fmt: skip
        high = np.where(mine & theirs, np.maximum(self.high, other.high),
                        np.where(theirs, other.high, self.high))  # fmt: skip
        return Life(low, high)


@dataclass(frozen=True)
class Whole:
    """The life of a buffer of which all `size` bytes are needed at some of the moments, or none."""

    moments: int
    when: Array | slice
    size: int

    @property
    def low(self) -> Array:
        return np.zeros(self.moments, np.int64)

    @property
    def high(self) -> Array:
        high = np.zeros(self.moments, np.int64)
        high[self.when] = self.size
        return high

    def add_to(self, total: Array) -> None:
        """Count the bytes needed at each moment."""
        total[self.when] += aligned(self.size)

    def united(self, other: Life | Whole) -> Life:
        """The life of a buffer that holds both."""
        return Life(self.low, self.high).united(other)


@dataclass(frozen=True)
class Distance:
    """Buffer `a` may not begin more than `low` and less than `high` bytes behind buffer `b`."""

    a: str
    b: str
    low: int
    high: int


@dataclass
class Lives:
    """The lives of all buffers in a segment, by root, scratch_name or sums_name.

    distances: those that the lives do not tell, because they arise within a single step
    merged: (output, input) where the output lies exactly on the input
    """

    facts: Facts
    segment: Segment
    found: dict[str, Life | Whole] = field(default_factory=dict)
    distances: list[Distance] = field(default_factory=list)
    merged: list[tuple[str, str]] = field(default_factory=list)

    @property
    def moments(self) -> int:
        return 2 * len(self.segment.steps)

    def peak(self) -> int:
        """Bytes needed at the worst moment: no placement can do with less."""
        total: Array = np.zeros(self.moments, np.int64)
        for life in self.found.values():
            life.add_to(total)
        return int(total.max())


def lives(facts: Facts, segment: Segment) -> Lives:
    """What the ops of a segment need while they run, and what waits for later ops meanwhile."""
    result = Lives(facts, segment)
    early: set[str] = set()  # ends with the first moment of the step that needs it last
    late: set[str] = set()  # begins with the second moment of the step that makes it
    op = facts.graph.ops[segment.first]
    if not segment.streamed:
        below, in_scratch = facts.overwritten(segment.first), facts.input_in_scratch(segment.first)
        if below is not None:
            early, late = {below}, {op.outputs[0]}
            result.merged.append((op.outputs[0], below))
        elif in_scratch is not None and len(segment.steps) == 1:
            early, late = {in_scratch}, {op.outputs[0], scratch_name(op)}
            size, room = facts.bytes(in_scratch), facts.scratch(segment.first, False)
            result.distances.append(Distance(scratch_name(op), in_scratch, size - room, size))
    for index in range(segment.first, segment.last + 1):
        result.found.update(_workspace(facts, segment, index, late))
        if segment.streamed and (sums := form_of(facts, index).sums):
            op = facts.graph.ops[index]
            late.add(op.outputs[0])
            result.distances.append(Distance(op.outputs[0], sums_name(op), 0, sums))
    for root, maker in facts.maker.items():
        if maker <= segment.last and facts.last[root] >= segment.first:
            result.found[root] = _tensor(facts, segment, root, root in early, root in late)
    return result


def _workspace(facts: Facts, segment: Segment, index: int, late: set[str]) -> Mapping[str, Whole]:
    """Scratch of an op during its steps; sums from its first step to its last."""
    op, times = facts.graph.ops[index], segment.times[index]
    moments = 2 * len(segment.steps)
    found = {}
    if size := facts.scratch(index, segment.streamed):
        after = 2 * times + 1
        when = after if scratch_name(op) in late else np.concatenate([after - 1, after])
        found[scratch_name(op)] = Whole(moments, when, size)
    if segment.streamed and (size := form_of(facts, index).sums):
        found[sums_name(op)] = Whole(moments, slice(2 * times[0], 2 * times[-1] + 1), size)
    return found


def _moments(first: Array, second: Array) -> Array:
    """Values at the first and second moments of all steps, interleaved."""
    if first is second:
        return np.repeat(first, 2)
    both = np.empty(2 * len(first), np.int64)
    both[0::2], both[1::2] = first, second
    return both


def _tensor(facts: Facts, segment: Segment, root: str, early: bool, late: bool) -> Life | Whole:
    count, size, maker = len(segment.steps), facts.bytes(root), facts.maker[root]
    if maker < segment.first and facts.last[root] > segment.last:
        return Whole(2 * count, slice(None), size)
    if root in segment.rings:
        begin, end = segment.held[root]
        ring = segment.rings[root] * (size // facts.rows(root))
        return Whole(2 * count, slice(2 * begin, 2 * end + 2), ring)
    # Between two steps, and before the first and after the last: what is made, what is needed from.
    made = np.full(count + 1, size)
    if maker in segment.times:
        rows = made_rows(facts, segment, root)  # a folding op makes all in its last step
        made = _done(segment, maker) // (len(segment.times[maker]) // rows) * (size // rows)
    needed = np.full(count + 1, 0 if facts.last[root] > segment.last else size)
    for index, name in facts.readers[root]:
        if segment.first <= index <= segment.last:
            still = first_needed(facts, segment, index, name)
            needed = np.minimum(needed, still[_done(segment, index)])
    before, after = made[:-1], made[1:]
    needed, later = needed[:-1], needed[1:]
    if maker in segment.times:
        # What a step makes is there when it has been made, though nobody may need it.
        new = np.where(after > before, before, size)
        needed, later = np.minimum(needed, new), np.minimum(later, new)
    low = _moments(needed, later if early else needed)
    high = _moments(before if late else after, after)
    return Life(low, high)


def _done(segment: Segment, index: int) -> Array:
    """How many steps op `index` has done before each step of the segment, and at its end."""
    done = np.zeros(len(segment.steps) + 1, np.int64)
    np.cumsum(segment.steps == index, out=done[1:])
    return done
