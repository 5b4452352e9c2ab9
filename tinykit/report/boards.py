"""`tinykit boards`: what is known of each board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinykit.report.report import Column, JsonValue, Report, Table, numbers
from tinykit.units import format_size

if TYPE_CHECKING:
    from tinykit.boards import Board

TITLES = ("board", "core", "SRAM", "flash", "runs on", "flashed by")


def board_rows(boards: Sequence[Board]) -> list[tuple[str, ...]]:
    """One row of TITLES per board."""
    return [
        (
            board.name,
            board.core,
            format_size(board.sram),
            format_size(board.flash),
            ", ".join(targets(board)),
            f"pyOCD ({board.pyocd})" if board.pyocd else "",
        )
        for board in boards
    ]


def targets(board: Board) -> list[str]:
    """The targets that can run this board's firmware."""
    found = [name for name in ("unicorn", "qemu", "renode") if getattr(board, name)]
    return found if board.emulated else [*found, "serial"]


def boards_report(boards: Sequence[Board]) -> Report:
    """All boards in one table; of a single one everything."""
    data = [_data(board) for board in boards]
    left, right = Column, numbers
    columns = (*map(left, TITLES[:2]), *right(*TITLES[2:4]), *map(left, TITLES[4:]))
    parts: list[Table | str] = [Table(columns, tuple(board_rows(boards)))]
    if len(boards) == 1:
        (board,) = boards
        parts = [f"{board.name}: {board.title}", *parts, board.notes, f"manifest: {board.manifest}"]
    return Report({"boards": data}, tuple(parts))


def _data(board: Board) -> dict[str, JsonValue]:
    return {
        "name": board.name,
        "title": board.title,
        "core": board.core,
        "cpu": board.cpu,
        "sram": board.sram,
        "flash": board.flash,
        "targets": targets(board),
        "qemu": board.qemu,
        "unicorn": board.unicorn,
        "renode": board.renode.platform if board.renode else None,
        "pyocd": board.pyocd,
        "baud": board.uart.baud,
        "notes": board.notes,
        "manifest": str(board.manifest),
    }
