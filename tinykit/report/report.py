"""What every verb that reports returns: tables to read, and the same facts as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

# JSON's values; containers are read only, so that lists of a narrower type fit
JsonValue = str | int | float | bool | None | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A table's column; numbers are right-aligned."""

    title: str
    align: Literal["left", "right"] = "left"


@dataclass(frozen=True)
class Table:
    """Rows of text under columns; `total` is set apart below them."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    total: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Report:
    """`data` is what --json prints; `parts` (tables and lines) is what a person reads."""

    data: Mapping[str, JsonValue]
    parts: tuple[Table | str, ...]

    def print(self, console: Console) -> None:
        """Print tables and lines in order."""
        for part in self.parts:
            if isinstance(part, str):
                console.print(part, markup=False)
            else:
                _print_table(part, console)


def numbers(*titles: str) -> tuple[Column, ...]:
    """Right-aligned columns."""
    return tuple(Column(title, "right") for title in titles)


def _print_table(table: Table, console: Console) -> None:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rich = RichTable(
        title=Text(table.title, style="bold") if table.title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        show_footer=table.total is not None,
    )
    for index, column in enumerate(table.columns):
        footer = Text(table.total[index]) if table.total else ""
        rich.add_column(Text(column.title), justify=column.align, footer=footer, overflow="fold")
    for row in table.rows:
        rich.add_row(*(Text(cell) for cell in row))
    if not console.is_terminal:
        console.width = 1000  # a file or a pipe has no margin to wrap at
    console.print(rich)
    console.print()
