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

    def united(self, other: Life) -> Life:
        """The life of a buffer that holds both."""
        mine, theirs = self.low < self.high, other.low < other.high
        low = np.where(mine & theirs, np.minimum(self.low, other.low),
                       np.where(theirs, other.low, self.low))  # fmt: skip
        high = np.where(mine & theirs, np.maximum(self.high, other.high),
                        np.where(theirs, other.high, self.high))  # fmt: skip
        return Life(low, high)


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

    waiting: those that are needed later and not touched, from the first moment to the last
    distances: those that the lives do not tell, because they arise within a single step
    merged: (output, input) where the output lies exactly on the input
    """

    facts: Facts
    segment: Segment
    found: dict[str, Life] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    distances: list[Distance] = field(default_factory=list)
    merged: list[tuple[str, str]] = field(default_factory=list)

    @property
    def moments(self) -> int:
        return 2 * len(self.segment.steps)

    def peak(self) -> int:
        """Bytes needed at the worst moment: no placement can do with less."""
        total: Array = np.zeros(self.moments, np.int64)
        for name, life in self.found.items():
            if name not in self.waiting:
                total += life.words
        return int(total.max()) + sum(aligned(self.facts.bytes(name)) for name in self.waiting)


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
    done = {index: _done(segment, index) for index in segment.times}
    for root, maker in facts.maker.items():
        if maker > segment.last or facts.last[root] < segment.first:
            continue
        if maker < segment.first and facts.last[root] > segment.last:
            result.waiting.add(root)
            result.found[root] = _whole(facts.bytes(root), result.moments)
        else:
            result.found[root] = _tensor(facts, segment, done, root, root in early, root in late)
    return result


def _whole(size: int, moments: int) -> Life:
    """All of a tensor, all the time."""
    return Life(np.broadcast_to(np.int64(0), moments), np.broadcast_to(np.int64(size), moments))


def _done(segment: Segment, index: int) -> Array:
    """How many steps op `index` has done before each step of the segment, and at its end."""
    done = np.zeros(len(segment.steps) + 1, np.int64)
    np.cumsum(segment.steps == index, out=done[1:])
    return done


def _workspace(facts: Facts, segment: Segment, index: int, late: set[str]) -> Mapping[str, Life]:
    """Scratch of an op during its steps; sums from its first step to its last."""
    op, times = facts.graph.ops[index], segment.times[index]
    found = {}
    if size := facts.scratch(index, segment.streamed):
        high = np.zeros(2 * len(segment.steps), np.int64)
        high[2 * times + 1] = size
        if scratch_name(op) not in late:
            high[2 * times] = size
        found[scratch_name(op)] = Life(np.zeros_like(high), high)
    if segment.streamed and (size := form_of(facts, index).sums):
        high = np.zeros(2 * len(segment.steps), np.int64)
        high[2 * times[0] : 2 * times[-1] + 1] = size
        found[sums_name(op)] = Life(np.zeros_like(high), high)
    return found


def _moments(first: Array, second: Array) -> Array:
    """Values at the first and second moments of all steps, interleaved."""
    if first is second:
        return np.repeat(first, 2)
    both = np.empty(2 * len(first), np.int64)
    both[0::2], both[1::2] = first, second
    return both


def _tensor(
    facts: Facts, segment: Segment, done: Mapping[int, Array], root: str, early: bool, late: bool
) -> Life:
    """done: by op, as _done has it."""
    count, size, maker = len(segment.steps), facts.bytes(root), facts.maker[root]
    # Between two steps, and before the first and after the last: what is made, what is needed from.
    made = np.full(count + 1, size)
    if maker in segment.times:
        rows = made_rows(facts, segment, root)  # a folding op makes all in its last step
        made = done[maker] // (len(segment.times[maker]) // rows) * (size // rows)
    needed = np.full(count + 1, 0 if facts.last[root] > segment.last else size)
    for index, name in facts.readers[root]:
        if segment.first <= index <= segment.last:
            still = first_needed(facts, segment, index, name)
            needed = np.minimum(needed, still[done[index]])
    before, after = made[:-1], made[1:]
    needed, later = needed[:-1], needed[1:]
    if maker in segment.times:
        # What a step makes is there when it has been made, though nobody may need it.
        new = np.where(after > before, before, size)
        needed, later = np.minimum(needed, new), np.minimum(later, new)
    low = _moments(needed, later if early else needed)
    high = _moments(before if late else after, after)
    ring = segment.rings.get(root)
    if ring is not None:
        alive = np.flatnonzero(low < high)
        low, high = np.zeros_like(low), np.zeros_like(high)
        high[alive[0] : alive[-1] + 1] = ring * (size // facts.rows(root))
    return Life(low, high)
