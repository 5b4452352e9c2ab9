"""Segments: runs of consecutive ops, executed together row by row, or one op by itself.

In a streamed segment the op latest in the order runs whose input rows are all there.  So a row is
consumed as soon as it can be, and the rows of a tensor that wait at the same time are few: they
live in a ring.  The order of all steps is known here, when the program is made; the generated C
follows from the same rule, so that a ring of the capacity found here never overflows.  It cannot
deadlock: what the earliest op reads is whole, and an op only ever waits for earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tinykit.ir import Array
from tinykit.ops.rows import RowForm
from tinykit.schedule.facts import SOURCE, Facts

GUARD = 3  # instructions by which the loop finds out that an op cannot run


@dataclass(frozen=True, eq=False)
class Segment:
    """Ops first … last of the order.

    steps: the index of the op that each step runs (SOURCE: an input row arrives)
    times: when each op runs, as positions in `steps`
    rings: rows of the tensors that are never whole in memory; others are whole
    held: the first and the last step at which a ring holds something
    """

    first: int
    last: int
    streamed: bool
    steps: Array
    times: Mapping[int, Array]
    rings: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def alone(facts: Facts, index: int) -> Segment:
    """One op, in one call.  If that call goes from top to bottom, each row counts as a step."""
    form = facts.forms[index]
    steps = form.steps if form is not None and form.ordered else 1
    return Segment(index, index, False, np.full(steps, index), {index: np.arange(steps)})


def stream(facts: Facts, first: int, last: int) -> Segment:
    """The ops first … last row by row; all must have a row form."""
    segment = begun(facts, first)
    for _ in range(first, last + 1):
        segment = longer(facts, segment)
    return segment


def begun(facts: Facts, first: int) -> Segment:
    """What a streamed segment from op `first` on begins with: nothing, or the rows that arrive."""
    times: dict[int, Array] = {}
    if facts.input_rows and first == 0:
        times[SOURCE] = np.arange(facts.rows(facts.graph.inputs[0]))
    steps = np.full(len(times.get(SOURCE, ())), SOURCE)
    return Segment(first, first - 1, True, steps, times)


def form_of(facts: Facts, index: int) -> RowForm:
    form = facts.forms[index]
    assert form is not None
    return form


def longer(facts: Facts, segment: Segment) -> Segment:
    """A streamed segment with the next op, which must have a row form.

    The steps that were there keep their order, since they wait for none of the new ones; these come
    between them, each as soon as its input rows are there.
    """
    index = segment.last + 1
    form = form_of(facts, index)
    # How many of the old steps each new one waits for. The generated C runs nothing before it is
    # given the first row of an input that arrives by rows, not even rows made of padding alone.
    before = np.full(form.steps, int(SOURCE in segment.times), np.int64)
    for name in form.reads:
        maker = facts.maker[facts.root[name]]
        if maker in segment.times:
            before = np.maximum(before, _waits(facts, segment.times[maker], maker, index, name))
    before = np.maximum.accumulate(before)
    moved = np.arange(len(segment.steps))
    moved += np.searchsorted(before, moved, "right")
    times = {op: moved[old] for op, old in segment.times.items()}
    times[index] = before + np.arange(form.steps)
    rings = dict(segment.rings)
    held = {root: (int(moved[a]), int(moved[b])) for root, (a, b) in segment.held.items()}
    for root in {facts.root[name]: None for name in form.reads}:
        if facts.maker[root] in times and (ring := _ring(facts, root, index, times)):
            rings[root], held[root] = ring, _held(facts, root, times)
    rings = dict(sorted(rings.items(), key=lambda item: facts.maker[item[0]]))
    steps = np.insert(segment.steps, before, index)
    return Segment(segment.first, index, True, steps, times, rings, held)


def _waits(facts: Facts, times: Array, maker: int, index: int, name: str) -> Array:
    """For each step of op `index`: after how many steps of the segment the rows that it reads have
    been made, by an op that runs at `times`."""
    if maker != SOURCE and form_of(facts, maker).sums:
        times = times[-1:]
    return np.concatenate([[0], times + 1])[facts.waits(index, name)]


def made_rows(facts: Facts, segment: Segment, root: str) -> int:
    """Rows that the maker of a tensor makes step by step within the segment; 1: all at once."""
    index = facts.maker[root]
    if index == SOURCE:
        return facts.rows(root)
    form = facts.forms[index]
    by_rows = (
        form is not None
        and (segment.streamed or form.ordered)
        and not (form.sums and segment.streamed)
    )
    return len(segment.times[index]) if by_rows else 1


def first_needed(facts: Facts, segment: Segment, index: int, name: str) -> Array:
    """By how many steps op `index` has done: the first byte of a tensor that it still needs."""
    form = facts.forms[index]
    if form is None or not (segment.streamed or form.ordered):
        return np.array([0] * len(segment.times[index]) + [facts.bytes(name)])
    return facts.needs(index, name) * (facts.bytes(name) // facts.rows(name))


def _ring(facts: Facts, root: str, last: int, times: Mapping[int, Array]) -> int:
    """Rows of the ring that a tensor made in a streamed segment needs; 0: it has to be whole."""
    index, readers = facts.maker[root], facts.readers[root]
    if index != SOURCE and form_of(facts, index).sums:
        return 0
    if root in facts.kept or len(facts.views[root]) > 1 or facts.last[root] > last:
        return 0
    rows, height = np.arange(len(times[index])), facts.rows(root)
    oldest = rows
    for reader, name in readers:
        done = np.searchsorted(times[reader], times[index])
        oldest = np.minimum(oldest, facts.needs(reader, name)[done])
    capacity = int((rows + 1 - oldest).max())
    return capacity if capacity < height else 0


def _held(facts: Facts, root: str, times: Mapping[int, Array]) -> tuple[int, int]:
    """The step that makes the first row of a tensor, and the last that makes or needs one."""
    made, readers = times[facts.maker[root]], facts.readers[root]
    steps = np.sort(np.concatenate([times[reader] for reader, _ in readers]))
    oldest = np.full(len(steps), facts.rows(root))
    for reader, name in readers:
        oldest = np.minimum(
            oldest, facts.needs(reader, name)[np.searchsorted(times[reader], steps)]
        )
    needing = steps[oldest < np.searchsorted(made, steps)]
    return int(made[0]), max(int(made[-1]), int(needing.max(initial=0)))


def overhead(facts: Facts, segment: Segment) -> int:
    """Estimated instructions more than the same ops take one after the other."""
    if not segment.streamed:
        return 0
    forms = [form_of(facts, index) for index in range(segment.first, segment.last + 1)]
    return sum(form.steps * (form.overhead + GUARD * len(forms)) for form in forms)
