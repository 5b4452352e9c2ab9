"""SRAM against instructions: what streaming more or fewer layers costs and saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinykit.report.picture import Plot, save_plot
from tinykit.report.report import Column, JsonValue, Table, numbers
from tinykit.schedule import Program, instructions

if TYPE_CHECKING:
    from tinykit.build.bounds import MemoryPlan


@dataclass(frozen=True)
class Point:
    """A schedule: bytes of its arena and of all SRAM, estimated instructions, what streams."""

    arena: int
    sram: int
    instructions: int
    overhead: float
    streams: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """Schedules of one program, from the fastest to the smallest; `arena` is the chosen one's."""

    points: tuple[Point, ...]
    arena: int
    sram: int
    budget: int

    @classmethod
    def of(cls, programs: Sequence[Program], memory: MemoryPlan) -> Curve:
        """The curve of these programs, for a board's memory with the chosen one in it."""
        arena = memory.sram["arena"]
        other = memory.sram_bytes - arena
        points = []
        for program in programs:
            base, names = instructions(program.graph), [op.name for op in program.graph.ops]
            points.append(
                Point(
                    program.arena_bytes,
                    program.arena_bytes + other,
                    base + program.overhead,
                    program.overhead / base if base else 0.0,
                    tuple(f"{names[s.first]}–{names[s.last]}" for s in program.streamed),
                )
            )
        return cls(tuple(points), arena, memory.sram_bytes, memory.board.sram)

    def table(self) -> Table:
        """One row per schedule."""
        rows = tuple(
            (
                f"{point.arena:,}",
                f"≤ {point.sram:,}",
                f"{point.instructions / 1e6:,.2f} M",
                f"{100 * point.overhead:.2f} %",
                ", ".join(point.streams) or "nothing",
            )
            for point in self.points
        )
        columns = (
            *numbers("arena B", "all SRAM B", "instructions, about", "more"),
            Column("row by row"),
        )
        title = f"SRAM against instructions (chosen: an arena of {self.arena:,} B)"
        return Table(columns, rows, title=title)

    def data(self) -> list[JsonValue]:
        return [
            {
                "arena": point.arena,
                "sram": point.sram,
                "instructions": point.instructions,
                "overhead": point.overhead,
                "streams": list(point.streams),
            }
            for point in self.points
        ]


def draw_curve(curve: Curve, path: Path, title: str = "") -> None:
    """Write a picture (.svg or .png by the name's ending): a step for each schedule, the budget.

    Raises TinykitError without matplotlib.
    """
    x = [point.sram / 1024 for point in curve.points]
    y = [point.instructions / 1e6 for point in curve.points]
    marks = {f"chosen: {curve.sram:,} B": curve.sram / 1024}
    if curve.budget < 2 * max(point.sram for point in curve.points):
        marks[f"budget: {curve.budget:,} B"] = curve.budget / 1024
    plot = Plot(x, y, "all SRAM, at most (KB)", "instructions, about (millions)", marks)
    save_plot(plot, path, title)
