"""Which bytes are needed when: buffers and their live ranges.

A buffer holds one or more arena tensors: views of the same bytes (reshape) and results written
over an input that nobody needs any more (in place).  Scratch memory of an op is a buffer that
lives during that op alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinykit.ir import Graph, Op
from tinykit.ops.registry import operator

ALIGNMENT = 4  # bytes; every buffer starts on a word


def aligned(size: int) -> int:
    """`size` in bytes, rounded up to whole words."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Buffer:
    """`bytes` of arena, needed from op `first` to op `last`, both included.

    A graph input is needed from op 0, a graph output until the last op.
    """

    names: tuple[str, ...]
    bytes: int
    first: int
    last: int

    def overlaps(self, other: Buffer) -> bool:
        """Whether both are needed at the same time."""
        return self.first <= other.last and other.first <= self.last


def scratch_name(op: Op) -> str:
    return f"scratch of {op.name}"


def scratch_bytes(graph: Graph, op: Op) -> int:
    """Scratch that the op's calls need: the largest, since they run one after the other."""
    if operator(op.kind).alias:
        return 0
    return max((call.scratch for call in operator(op.kind).lower(graph, op)), default=0)


def buffers(graph: Graph, keep_input: bool = False) -> list[Buffer]:
    """The buffers of a graph executed in the order of its ops.

    keep_input: the graph's inputs are needed until the end, so that they can be used again.
    """
    end = len(graph.ops) - 1
    last_use = {name: index for index, op in enumerate(graph.ops) for name in op.reads}
    kept = (*graph.outputs, *graph.inputs) if keep_input else graph.outputs
    last_use.update((name, end) for name in kept)

    groups: dict[str, list[str]] = {name: [name] for name in graph.inputs}
    first: dict[str, int] = dict.fromkeys(graph.inputs, 0)  # by the group's first tensor
    for index, op in enumerate(graph.ops):
        rule = operator(op.kind)
        for position, name in enumerate(op.outputs):
            source = _source_of_output(rule.alias, rule.in_place, op) if position == 0 else ""
            group = groups.get(source)
            if group is not None and (
                rule.alias or _may_overwrite(graph, group, name, index, last_use)
            ):
                group.append(name)
                groups[name] = group
            else:
                groups[name] = [name]
                first[name] = index

    found = [
        Buffer(
            tuple(groups[head]),
            max(aligned(graph[name].bytes) for name in groups[head]),
            first[head],
            max(max(last_use.get(name, 0) for name in groups[head]), _made(graph, groups[head])),
        )
        for head in first
    ]
    for index, op in enumerate(graph.ops):
        size = scratch_bytes(graph, op)
        if size:
            found.append(Buffer((scratch_name(op),), aligned(size), index, index))
    return found


def _source_of_output(alias: bool, in_place: int | None, op: Op) -> str:
    if alias:
        return op.inputs[0]
    return op.inputs[in_place] if in_place is not None else ""


def _may_overwrite(
    graph: Graph, group: list[str], output: str, index: int, last_use: dict[str, int]
) -> bool:
    dead = all(last_use.get(name, -1) <= index for name in group)
    fits = max(graph[name].bytes for name in group) >= graph[output].bytes
    return dead and fits


def _made(graph: Graph, group: list[str]) -> int:
    makers = [i for i, op in enumerate(graph.ops) for name in op.outputs if name in group]
    return max(makers, default=0)


def peak(found: list[Buffer]) -> int:
    """The liveness bound in bytes: no placement of these buffers can need less."""
    moments = {buffer.first for buffer in found}
    return max((sum(b.bytes for b in found if b.first <= t <= b.last) for t in moments), default=0)
