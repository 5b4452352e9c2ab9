"""Replays a memory plan byte by byte, knowing nothing of the planner.

Every byte of the arena remembers which value it holds.  An op must find its inputs whole, and may
write over one of them only where its kernel allows it.
"""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.registry import operator
from tinykit.schedule import Program

# The kernels whose headers allow the result to lie on the first input.
MAY_OVERWRITE = frozenset(
    {"add", "relu", "relu6", "quantize", "softmax", "activation_grad", "channel_scale",
     "gradient_add"}
)  # fmt: skip
VIEWS = frozenset({"reshape"})
NOTHING = -1


class Arena:
    """Which (value, byte) each byte holds: value * 2^32 + index, or NOTHING."""

    def __init__(self, program: Program) -> None:
        self.graph = program.graph
        self.offsets = program.offsets
        self.bytes: Array = np.full(program.arena_bytes, NOTHING, np.int64)
        self.numbers: dict[str, int] = {}

    def span(self, name: str) -> slice:
        start, size = self.offsets[name], self.graph[name].bytes
        assert 0 <= start <= start + size <= len(self.bytes), f"{name} leaves the arena"
        assert start % 4 == 0, f"{name} is not aligned"
        return slice(start, start + size)

    def content(self, name: str) -> Array:
        return self.numbers[name] * 2**32 + np.arange(self.graph[name].bytes)

    def write(self, name: str) -> None:
        self.numbers[name] = len(self.numbers)
        self.bytes[self.span(name)] = self.content(name)

    def holds(self, name: str) -> bool:
        return np.array_equal(self.bytes[self.span(name)], self.content(name))


def overlap(a: slice, b: slice) -> bool:
    return a.start < b.stop and b.start < a.stop


def replay(program: Program, keep_input: bool = False) -> None:
    """AssertionError naming op and tensor when the plan destroys what is still needed."""
    graph, arena = program.graph, Arena(program)
    updated: set[str] = set()
    for name in graph.inputs:
        arena.write(name)
    assert program.offsets[graph.inputs[0]] == 0
    for op in graph.ops:
        inputs = {n for n in op.inputs if n and graph[n].storage == "arena"}
        for name in op.inputs:
            assert name not in updated, f"{op.name} reads {name} after its update"
        for name in inputs:
            assert name in arena.numbers, f"{op.name} reads {name} before it is made"
            assert arena.holds(name), f"{op.name} finds {name} destroyed"
        updated.update(op.updates)
        if op.kind in VIEWS:
            view(arena, op)
        else:
            execute(arena, op, inputs, program)
    kept = (*graph.outputs, *graph.inputs) if keep_input else graph.outputs
    for name in kept:
        assert arena.holds(name), f"{name} does not live to the end"
    assert needed_bytes(graph) <= program.bound_bytes <= program.arena_bytes


def view(arena: Arena, op: Op) -> None:
    source, result = op.inputs[0], op.outputs[0]
    assert arena.span(source) == arena.span(result), f"{op.name}: a view elsewhere"
    arena.numbers[result] = arena.numbers[source]


def execute(arena: Arena, op: Op, inputs: set[str], program: Program) -> None:
    calls = operator(op.kind).lower(arena.graph, op)
    size = max((call.scratch for call in calls), default=0)
    start = program.scratch_offset(op)
    scratch = slice(start, start + size)
    assert scratch.stop <= len(arena.bytes)
    assert start % 4 == 0
    for name in (*inputs, *op.outputs):
        assert not (size and overlap(scratch, arena.span(name))), f"{op.name}: scratch on {name}"
    for position, result in enumerate(op.outputs):
        for name in inputs:
            if overlap(arena.span(result), arena.span(name)):
                first = position == 0 and name == op.inputs[0] and op.kind in MAY_OVERWRITE
                same = arena.span(result).start == arena.span(name).start
                fits = arena.graph[result].bytes <= arena.graph[name].bytes
                allowed = first and same and fits
                assert allowed, f"{op.name}: {result} on its input {name}"
    arena.bytes[scratch] = NOTHING
    for result in op.outputs:
        assert result not in arena.numbers, f"{result} is made twice"
        arena.write(result)


def needed_bytes(graph: Graph) -> int:
    """The most bytes that wait at once between two ops: no plan of this order needs less."""
    root: dict[str, str] = {}
    last: dict[str, int] = {}
    made: dict[str, int] = dict.fromkeys(graph.inputs, -1)
    for index, op in enumerate(graph.ops):
        for name in op.outputs:
            root[name] = root.get(op.inputs[0], op.inputs[0]) if op.kind in VIEWS else name
            made.setdefault(root[name], index)
        for name in op.reads:
            last[root.get(name, name)] = index
    for name in graph.outputs:
        last[root.get(name, name)] = len(graph.ops)
    waiting = [
        sum(graph[n].bytes for n in made if made[n] < index <= last.get(n, -1))
        for index in range(len(graph.ops) + 1)
    ]
    return max(waiting)
