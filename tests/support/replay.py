"""Replays a memory plan byte by byte, knowing nothing of the planner.

Every byte of the arena remembers which value it holds.  An op must find what it reads whole, at the
moment when it reads it, and may write over it only in the order in which its kernel works.  Ops of
a streamed segment run by the rule of the generated loop: always the latest whose rows are there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tests.support.geometry import KINDS_BY_ELEMENT, input_rows, output_rows
from tinykit.ir import Array, Op
from tinykit.ir.tensor import ITEM_BYTES
from tinykit.ops.registry import operator
from tinykit.schedule import Program
from tinykit.schedule.facts import scratch_name, sums_name

# The other kernels whose headers allow the result to lie exactly on the first input.
EXACTLY_ON_INPUT = frozenset(
    {
        "softmax", "l2_normalization", "activation_grad", "channel_scale", "gradient_add",
        "lookup_grad", "depthwise_input_grad",
    }
)  # fmt: skip
OF_ONE_SHAPE = frozenset({"depthwise_input_grad"})  # where the two have one
VIEWS = frozenset({"reshape"})
FOLDS = frozenset({"mean", "average_pool2d"})
NOTHING = -1


@dataclass
class Rows:
    """When each row of a value was written and last read, in steps."""

    bytes: int
    written: list[int]
    read: list[int]


class Use(NamedTuple):
    """Bytes that a step reads, or writes, in the order in which it does."""

    step: int
    bytes: slice
    writes: bool


class Step(NamedTuple):
    """When an op ran, or made a row; whether its result is whole, or that row is."""

    step: int
    op: Op
    streamed: bool
    made: bool


@dataclass
class Arena:
    """Which (value, byte) each byte holds: value * 2^32 + index, or NOTHING."""

    program: Program
    bytes: Array = field(init=False)
    numbers: dict[str, int] = field(default_factory=dict)
    history: dict[int, Rows] = field(default_factory=dict)
    now: int = 0
    uses: list[Use] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bytes = np.full(self.program.arena_bytes, NOTHING, np.int64)
        self.rings = self.program.rings

    def height(self, name: str) -> int:
        shape = self.program.graph[name].shape
        return shape[1] if len(shape) == 4 and shape[0] == 1 else 1

    def span(self, name: str, row: int | None = None) -> slice:
        """Where a tensor lies, or one of its rows."""
        size = self.program.graph[name].bytes
        start = self.program.offsets[name]
        assert start % 4 == 0, f"{name} is not aligned"
        if row is not None:
            size //= self.height(name)
            start += row % self.rings.get(name, self.height(name)) * size
        assert 0 <= start <= start + size <= len(self.bytes), f"{name} leaves the arena"
        return slice(start, start + size)

    def content(self, name: str, row: int | None = None) -> Array:
        size = self.program.graph[name].bytes
        first = 0
        if row is not None:
            size //= self.height(name)
            first = row * size
        return self.numbers[name] * 2**32 + first + np.arange(size)

    def make(self, name: str) -> None:
        assert name not in self.numbers, f"{name} is made twice"
        self.numbers[name] = number = len(self.history)
        rows = self.height(name)
        size = self.program.graph[name].bytes // rows
        self.history[number] = Rows(size, [-1] * rows, [-1] * rows)

    def write(self, name: str, row: int | None = None) -> None:
        self.bytes[self.span(name, row)] = self.content(name, row)
        self.uses.append(Use(self.now, self.span(name, row), writes=True))
        known = self.history[self.numbers[name]]
        for y in range(len(known.written)) if row is None else (row,):
            known.written[y] = self.now

    def check(self, name: str, row: int | None, reader: str) -> None:
        assert name in self.numbers, f"{reader} reads {name} before it is made"
        holds = np.array_equal(self.bytes[self.span(name, row)], self.content(name, row))
        which = "" if row is None else f" row {row} of"
        assert holds, f"{reader} finds{which} {name} destroyed"
        self.uses.append(Use(self.now, self.span(name, row), writes=False))
        known = self.history[self.numbers[name]]
        views_differ = row is not None and len(known.read) != self.height(name)
        for y in range(len(known.read)) if row is None or views_differ else (row,):
            known.read[y] = self.now

    def workspace(self, name: str, size: int) -> slice:
        start = self.program.offsets.get(name, 0)
        assert start % 4 == 0
        assert start + size <= len(self.bytes)
        return slice(start, start + size)

    def needed_bytes(self) -> int:
        """The most bytes of values that waited at once for a later step."""
        change = np.zeros(self.now + 2, np.int64)
        for known in self.history.values():
            for written, read in zip(known.written, known.read, strict=True):
                if read > written:
                    change[written + 1] += known.bytes
                    change[read + 1] -= known.bytes
        return int(np.cumsum(change).max())


def replay(program: Program, keep_input: bool = False) -> Arena:
    """AssertionError naming op and tensor when the plan destroys what is still needed.

    The arena remembers which bytes each step used.
    """
    graph, arena = program.graph, Arena(program)
    updated: set[str] = set()
    for name in graph.inputs:
        arena.make(name)
        if not program.input_rows:
            arena.write(name)
    covered = [i for s in program.segments for i in range(s.first, s.last + 1)]
    assert covered == list(range(len(graph.ops)))
    for segment in program.segments:
        ops = graph.ops[segment.first : segment.last + 1]
        for op in ops:
            for name in op.inputs:
                assert name not in updated, f"{op.name} reads {name} after its update"
            updated.update(op.updates)
        if segment.streamed:
            stream(arena, ops, arrives=program.input_rows and segment.first == 0)
        elif ops[0].kind in VIEWS:
            view(arena, ops[0])
        else:
            layer(arena, ops[0])
            arena.steps.append(Step(arena.now, ops[0], streamed=False, made=True))
        for name in segment.rings:
            readers = graph.consumers(name)
            assert all(reader in ops for reader in readers), f"{name} is read after its ring"
            assert name not in graph.outputs
    arena.now += 1
    for name in (*graph.outputs, *graph.inputs) if keep_input else graph.outputs:
        arena.check(name, None, "the end")
    assert arena.needed_bytes() <= program.bound_bytes <= program.arena_bytes
    return arena


def view(arena: Arena, op: Op) -> None:
    source, result = op.inputs[0], op.outputs[0]
    assert arena.span(source) == arena.span(result), f"{op.name}: a view elsewhere"
    arena.numbers[result] = arena.numbers[source]


def arena_inputs(arena: Arena, op: Op) -> list[str]:
    graph = arena.program.graph
    return [name for name in dict.fromkeys(op.reads) if graph[name].storage == "arena"]


def layer(arena: Arena, op: Op) -> None:
    """One op by itself: in one call, which works from top to bottom where it has rows."""
    arena.now += 1
    graph = arena.program.graph
    calls = operator(op.kind).lower(graph, op)
    inputs = arena_inputs(arena, op)
    for name in inputs:
        arena.check(name, None, op.name)
    scratch = arena.workspace(scratch_name(op), max((call.scratch for call in calls), default=0))
    if op.kind in EXACTLY_ON_INPUT and op.outputs and same_place(arena, op):
        inputs = [name for name in inputs if name != op.inputs[0]]
        arena.bytes[scratch] = NOTHING
        for name in inputs:
            arena.check(name, None, op.name)
        arena.make(op.outputs[0])
        arena.write(op.outputs[0])
        return
    if any(call.scratch_over_input and call.scratch for call in calls):
        expand(arena, op, scratch)
        finish(arena, op, [], scratch)
    elif op.kind in KINDS_BY_ELEMENT:
        elements(arena, op, None)
    elif output_rows(graph, op) is not None:
        arena.make(op.outputs[0])
        for row in range(output_rows(graph, op) or 0):
            step(arena, op, row, scratch)
    else:
        finish(arena, op, inputs, scratch)


def same_place(arena: Arena, op: Op) -> bool:
    a, b = arena.span(op.inputs[0]), arena.span(op.outputs[0])
    shapes = [arena.program.graph[name].shape for name in (op.inputs[0], op.outputs[0])]
    fits = shapes[0] == shapes[1] or op.kind not in OF_ONE_SHAPE
    return fits and a.start == b.start and b.stop <= a.stop


def finish(arena: Arena, op: Op, inputs: list[str], scratch: slice) -> None:
    """All outputs at once; inputs and scratch are in use until the end."""
    arena.bytes[scratch] = NOTHING
    for result in op.outputs:
        arena.make(result)
        arena.write(result)
    for name in inputs:
        arena.check(name, None, f"{op.name}, still reading,")
    arena.bytes[scratch] = NOTHING
    for result in op.outputs:
        assert np.array_equal(arena.bytes[arena.span(result)], arena.content(result)), (
            f"{op.name}: scratch on {result}"
        )


def expand(arena: Arena, op: Op, scratch: slice) -> None:
    """The input read into the scratch, front to back, four bytes to eight."""
    name = op.inputs[0]
    source, content = arena.span(name), arena.content(name)
    for at in range(0, len(content), 4):
        group = slice(source.start + at, min(source.start + at + 4, source.stop))
        assert np.array_equal(arena.bytes[group], content[at : at + 4]), (
            f"{op.name}: scratch on {name}"
        )
        end = min(scratch.start + 2 * at + 8, scratch.stop)
        arena.bytes[scratch.start + 2 * at : end] = NOTHING


def elements(arena: Arena, op: Op, row: int | None) -> None:
    """Element by element, behind what is read; inputs that repeat are in use until the end."""
    graph, result = arena.program.graph, op.outputs[0]
    if row is None:
        arena.make(result)
    inputs, repeated = [], []
    for name in arena_inputs(arena, op):
        same = graph[name].size == graph[result].size
        (inputs if same else repeated).append(name)
        arena.check(name, row if same else None, op.name)
    width = ITEM_BYTES[graph[result].dtype]
    target, content = arena.span(result, row), arena.content(result, row)
    sources = [
        (name, ITEM_BYTES[graph[name].dtype], arena.span(name, row), arena.content(name, row))
        for name in inputs
    ]
    for position in range(len(content) // width):
        for name, size, span, wanted in sources:
            here = slice(position * size, (position + 1) * size)
            found = arena.bytes[span][here]
            assert np.array_equal(found, wanted[here]), f"{op.name}: on its input {name}"
        here = slice(position * width, (position + 1) * width)
        arena.bytes[target][here] = content[here]
    arena.write(result, row)
    for name in repeated:
        arena.check(name, None, f"{op.name}, still reading,")


def step(arena: Arena, op: Op, row: int, scratch: slice) -> None:
    """One row of the output of an op that reads whole rows before it writes."""
    graph, (result,) = arena.program.graph, op.outputs
    for name in arena_inputs(arena, op):
        rows = input_rows(graph, op, name, row)
        for y in rows:
            arena.check(name, y, op.name)
        arena.bytes[scratch] = NOTHING
        arena.write(result, row)
        arena.bytes[scratch] = NOTHING
        for y in rows:
            arena.check(name, y, f"{op.name}, still reading,")
        arena.check(result, row, f"{op.name} itself")


def fold(arena: Arena, op: Op, row: int, total: int) -> None:
    """One row into the sums; the last one gives the output."""
    (name,), (result,) = arena_inputs(arena, op), op.outputs
    channels = arena.program.graph[name].shape[3]
    sums = arena.workspace(sums_name(op), 4 * channels)
    key = -2 - abs(hash(sums_name(op))) % 2**40
    if row > 0:
        assert (arena.bytes[sums] == key).all(), f"{op.name} finds its sums destroyed"
        arena.uses.append(Use(arena.now, sums, writes=False))
    arena.bytes[sums] = key
    arena.uses.append(Use(arena.now, sums, writes=True))
    arena.check(name, row, op.name)
    if row == total - 1:
        arena.make(result)
        target, content = arena.span(result), arena.content(result)
        for c in range(channels):
            held = arena.bytes[sums.start + 4 * c : sums.start + 4 * c + 4]
            assert (held == key).all(), f"{op.name}: {result} on its sums"
            arena.bytes[target.start + c] = content[c]
        arena.write(result)


def stream(arena: Arena, ops: tuple[Op, ...], arrives: bool) -> None:
    """The generated loop; where rows of the input arrive, the first does so before all steps, and
    each other one when no step can run."""
    graph, program = arena.program.graph, arena.program
    makers = {op.outputs[0]: i for i, op in enumerate(ops)}
    done, made = [0] * len(ops), [0] * len(ops)
    folds, totals = [], []
    for op in ops:
        rows = output_rows(graph, op)
        folds.append(rows is None or (op.kind in FOLDS and sums_name(op) in program.offsets))
        totals.append(arena.height(op.inputs[0]) if folds[-1] else rows or 0)
        if not folds[-1]:
            arena.make(op.outputs[0])
    arrived = 0 if arrives else None

    def ready(i: int) -> bool:
        if done[i] == totals[i]:
            return False
        for name in arena_inputs(arena, ops[i]):
            there = made[makers[name]] if name in makers else None
            if name in graph.inputs and arrives:
                there = arrived
            rows = [done[i]] if folds[i] else input_rows(graph, ops[i], name, done[i])
            if there is not None and rows and rows[-1] >= there:
                return False
        return True

    while True:
        arena.now += 1
        index = next((i for i in range(len(ops) - 1, -1, -1) if ready(i)), None)
        if arrived == 0:
            index = None
        if index is None and arrived is not None and arrived < arena.height(graph.inputs[0]):
            arena.write(graph.inputs[0], arrived)
            arrived += 1
            continue
        if index is None:
            break
        op, row = ops[index], done[index]
        if folds[index]:
            fold(arena, op, row, totals[index])
        elif op.kind in KINDS_BY_ELEMENT:
            elements(arena, op, row)
        else:
            call = operator(op.kind).rows(graph, op)
            assert call is not None
            step(arena, op, row, arena.workspace(scratch_name(op), call.call.scratch))
        done[index] += 1
        made[index] = int(done[index] == totals[index]) if folds[index] else done[index]
        whole = not folds[index] or done[index] == totals[index]
        arena.steps.append(Step(arena.now, op, streamed=True, made=whole))
    assert done == totals, "the segment does not come to its end"
