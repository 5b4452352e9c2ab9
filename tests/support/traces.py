"""The order in which a generated program traces what its ops make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.support.geometry import output_rows
from tinykit.schedule import Program
from tinykit.schedule.facts import sums_name


def trace_points(program: Program) -> Iterator[tuple[int, str, int | None]]:
    """(op, what it makes, row or None for all of it)."""
    graph = program.graph
    for segment in program.segments:
        done: Counter[int] = Counter()
        for index in map(int, segment.steps) if segment.streamed else (segment.first,):
            if index < 0:  # an input row arrives
                continue
            op, row = graph.ops[index], done[index]
            done[index] += 1
            if op.kind == "reshape":
                continue
            if not segment.streamed:
                yield from ((index, name, None) for name in (*op.outputs, *op.updates))
            elif sums_name(op) not in program.offsets:
                yield index, op.outputs[0], row
            elif row + 1 == graph[op.inputs[0]].shape[1]:
                yield index, op.outputs[0], None
        assert not segment.streamed or all(
            output_rows(graph, graph.ops[i]) in (None, n)
            for i, n in done.items()
            if sums_name(graph.ops[i]) not in program.offsets
        )
