"""`tinykit build` and `size`: where every byte of linked firmware goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinykit.report.picture import MemoryBar
from tinykit.report.report import Column, JsonValue, Report, Table, numbers

if TYPE_CHECKING:
    from tinykit.build.size import MemoryName, SizeReport

_TITLES: dict[MemoryName, str] = {"sram": "SRAM", "flash": "flash"}


def size_report(sizes: SizeReport, elf: Path, every_item: bool = False) -> Report:
    """Bytes by kind for each memory, against the board's budget; `every_item` names them all."""
    parts: list[Table | str] = [f"{elf} ({sizes.compiler})", ""]
    parts += [_kinds(sizes, memory) for memory in _TITLES]
    if every_item:
        parts += [_items(sizes, memory) for memory in _TITLES]
    return Report(_data(sizes, elf), tuple(parts))


def size_bars(sizes: SizeReport) -> list[MemoryBar]:
    """The same as bars of a picture."""
    return [
        MemoryBar(title, sizes.kinds(memory), _budget(sizes, memory))
        for memory, title in _TITLES.items()
    ]


def _kinds(sizes: SizeReport, memory: MemoryName) -> Table:
    budget = _budget(sizes, memory)
    rows = tuple(
        (kind, f"{count:,}", f"{100 * count / budget:.1f} %")
        for kind, count in sizes.kinds(memory).items()
    )
    used = _used(sizes, memory)
    total = (f"all of {budget:,}", f"{used:,}", f"{100 * used / budget:.1f} %")
    return Table((Column(_TITLES[memory]), *numbers("B", "of budget")), rows, total=total)


def _items(sizes: SizeReport, memory: MemoryName) -> Table:
    rows = tuple(
        (item.kind, item.name, f"{item.bytes:,}") for item in sizes.items if item.memory == memory
    )
    columns = (Column(f"{_TITLES[memory]}, every item"), Column("name"), *numbers("B"))
    return Table(columns, rows, total=("all", "", f"{_used(sizes, memory):,}"))


def _used(sizes: SizeReport, memory: MemoryName) -> int:
    return sizes.sram if memory == "sram" else sizes.flash


def _budget(sizes: SizeReport, memory: MemoryName) -> int:
    return sizes.sram_budget if memory == "sram" else sizes.flash_budget


def _data(sizes: SizeReport, elf: Path) -> dict[str, JsonValue]:
    memories: dict[str, JsonValue] = {
        memory: {
            "bytes": _used(sizes, memory),
            "budget": _budget(sizes, memory),
            "kinds": sizes.kinds(memory),
            "items": [
                {"kind": item.kind, "name": item.name, "bytes": item.bytes}
                for item in sizes.items
                if item.memory == memory
            ],
        }
        for memory in _TITLES
    }
    return {"elf": str(elf), "compiler": sizes.compiler, **memories}
