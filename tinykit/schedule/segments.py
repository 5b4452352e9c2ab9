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
    """

    first: int
    last: int
    streamed: bool
    steps: Array
    times: Mapping[int, Array]
    rings: Mapping[str, int] = field(default_factory=dict)


def alone(facts: Facts, index: int) -> Segment:
    """One op, in one call.  If that call goes from top to bottom, each row counts as a step."""
    form = facts.forms[index]
    steps = form.steps if form is not None and form.ordered else 1
    return Segment(index, index, False, np.full(steps, index), {index: np.arange(steps)})


def stream(facts: Facts, first: int, last: int) -> Segment:
    """The ops first … last row by row; all must have a row form."""
    steps = np.array(_order(facts, first, last))
    times = {i: np.flatnonzero(steps == i) for i in range(_begin(facts, first), last + 1)}
    rings = {}
    for index in times:
        for name in facts.made_by.get(index, ()):
            if ring := _ring(facts, name, last, times):
                rings[name] = ring
    return Segment(first, last, True, steps, times, rings)


def _begin(facts: Facts, first: int) -> int:
    return SOURCE if facts.input_rows and first == 0 else first


def form_of(facts: Facts, index: int) -> RowForm:
    form = facts.forms[index]
    assert form is not None
    return form


def _order(facts: Facts, first: int, last: int) -> list[int]:
    """The steps by the rule: always the latest op that can run."""
    begin = _begin(facts, first)
    count = {i: form_of(facts, i).steps for i in range(first, last + 1)}
    waits: dict[int, list[tuple[int, list[int]]]] = {SOURCE: []}
    followers: dict[int, list[int]] = {i: [] for i in range(begin, last + 1)}
    for index in range(first, last + 1):
        waits[index] = []
        for name in form_of(facts, index).reads:
            maker = facts.maker[facts.root[name]]
            if maker >= begin:
                waits[index].append((maker, facts.waits(index, name)))
                followers[maker].append(index)
    if begin == SOURCE:
        count[SOURCE] = facts.rows(facts.graph.inputs[0])
    done, made = dict.fromkeys(count, 0), dict.fromkeys(count, 0)

    def ready(index: int) -> bool:
        step = done[index]
        return step < count[index] and all(
            made[maker] >= need[step] for maker, need in waits[index]
        )

    steps: list[int] = []
    total = sum(count.values())
    index = last
    while len(steps) < total:
        # No op behind `index` can run, but for the followers of the one that ran last.
        while not ready(index):
            index -= 1
        steps.append(index)
        done[index] += 1
        folds = index != SOURCE and form_of(facts, index).sums
        made[index] = done[index] // count[index] if folds else done[index]
        index = max([index, *followers[index]])
    return steps


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
    views = [name for name, of in facts.root.items() if of == root]
    if root in facts.kept or len(views) > 1 or any(i > last for i, _ in readers) or not readers:
        return 0
    rows, height = np.arange(len(times[index])), facts.rows(root)
    oldest = rows
    for reader, name in readers:
        done = np.searchsorted(times[reader], times[index])
        oldest = np.minimum(oldest, facts.needs(reader, name)[done])
    capacity = int((rows + 1 - oldest).max())
    return capacity if capacity < height else 0


def overhead(facts: Facts, segment: Segment) -> int:
    """Estimated instructions more than the same ops take one after the other."""
    if not segment.streamed:
        return 0
    forms = [form_of(facts, index) for index in range(segment.first, segment.last + 1)]
    return sum(form.steps * (form.overhead + GUARD * len(forms)) for form in forms)
