"""A plan search as a table and as a picture: what each candidate contributes, and what it takes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from tinykit.report.picture import Dots, save_dots
from tinykit.report.report import Column, JsonValue, Table, numbers
from tinykit.training.search import Found, Tried


def search_table(found: Found) -> Table:
    """One row per candidate, in the order in which they were measured."""
    chosen = Tried(found.contribution, found.cost)
    rows = tuple(
        (
            f"{tried.contribution:.1%}",
            f"{tried.cost.sram:,}",
            f"{tried.cost.flash:,}",
            f"{tried.cost.instructions / 1e6:,.2f} M",
            f"{tried.seconds:.1f}",
            "chosen" if tried == chosen else "",
        )
        for tried in found.tried
    )
    columns = (
        *numbers("contribution", "SRAM B", "flash B", "instructions, about", "seconds"),
        Column(""),
    )
    return Table(columns, rows, title="candidates of the search")


def search_data(found: Found) -> dict[str, JsonValue]:
    """The plan that was found and all candidates, for JSON."""
    return {
        "contribution": found.contribution,
        **asdict(found.cost),
        "candidates": [
            {
                "contribution": tried.contribution,
                **asdict(tried.cost),
                "seconds": round(tried.seconds, 3),
            }
            for tried in found.tried
        ],
    }


def draw_search(found: Found, budget: int, path: Path, title: str = "") -> None:
    """Write a picture (.svg or .png by the name's ending) of contribution against SRAM: a point for
    each candidate, the chosen one marked, the budget in bytes a line.

    Raises TinykitError without matplotlib.
    """
    points = [(tried.cost.sram / 1024, 100 * tried.contribution) for tried in found.tried]
    chosen = (found.cost.sram / 1024, 100 * found.contribution)
    names = (f"chosen: {found.cost.sram:,} B", f"budget: {budget:,} B")
    dots = Dots(points, chosen, budget / 1024, "all SRAM, at most (KB)",
                "contribution (% of everything's)", names)  # fmt: skip
    save_dots(dots, path, title)
