"""The program: a graph in its final order, with the place of every buffer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinykit.ir import Graph, Op
from tinykit.schedule.arena import place
from tinykit.schedule.liveness import Buffer, buffers, peak, scratch_name
from tinykit.schedule.order import best_order


@dataclass(frozen=True)
class Placement:
    """A buffer and its offset in the arena, both in bytes."""

    buffer: Buffer
    offset: int

    @property
    def end(self) -> int:
        return self.offset + self.buffer.bytes


@dataclass(frozen=True)
class Program:
    """Ops in execution order; offsets of arena tensors and of scratch in bytes.

    bound: the liveness bound of this order; no placement can need less.
    """

    graph: Graph
    placements: tuple[Placement, ...]
    offsets: Mapping[str, int]
    arena_bytes: int
    bound_bytes: int

    def scratch_offset(self, op: Op) -> int:
        return self.offsets.get(scratch_name(op), 0)


def schedule(graph: Graph, keep_input: bool = False) -> Program:
    """Choose the order and place all buffers; the first graph input lies at offset 0."""
    ordered = best_order(graph)
    found = buffers(ordered, keep_input)
    offsets = place(found, {ordered.inputs[0]: 0})
    placements = tuple(Placement(b, offsets[b.names[0]]) for b in found)
    total = max((p.end for p in placements), default=0)
    return Program(ordered, placements, offsets, total, peak(found))
