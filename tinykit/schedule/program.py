"""The program: a graph in its final order, its segments, and the place of every buffer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinykit.ir import Graph, Op
from tinykit.schedule.arena import Proof
from tinykit.schedule.facts import scratch_name, sums_name
from tinykit.schedule.liveness import Buffer, needed
from tinykit.schedule.segments import Segment


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
    """Ops in execution order; offsets of arena tensors, scratch and sums in bytes.

    segments:  all ops, in order: each by itself, or in a streamed segment
    bound:     the liveness bound of these segments; no placement can need less
    proof:     whether the arena reaches the bound, or is proven to be the smallest
    overhead:  estimated instructions more than layer by layer
    """

    graph: Graph
    segments: tuple[Segment, ...]
    placements: tuple[Placement, ...]
    offsets: Mapping[str, int]
    arena_bytes: int
    bound_bytes: int
    proof: Proof
    overhead: int
    input_rows: bool = False

    def live(self) -> list[int]:
        """For each op: bytes of the arena that hold something at its worst moment."""
        total = needed([placement.buffer for placement in self.placements])
        steps = np.concatenate([np.zeros(0, int), *(s.steps for s in self.segments)])
        live = np.zeros(len(self.graph.ops) + 1, np.int64)  # the last one is SOURCE's
        np.maximum.at(live, np.repeat(steps, 2), total[: 2 * len(steps)])
        return [int(count) for count in live[:-1]]

    def scratch_offset(self, op: Op) -> int:
        return self.offsets.get(scratch_name(op), 0)

    def sums_offset(self, op: Op) -> int:
        return self.offsets[sums_name(op)]

    @property
    def streamed(self) -> tuple[Segment, ...]:
        """The segments that run row by row."""
        return tuple(segment for segment in self.segments if segment.streamed)

    @property
    def rings(self) -> dict[str, int]:
        """Rows in memory of each tensor that is never whole."""
        return {name: rows for segment in self.segments for name, rows in segment.rings.items()}
