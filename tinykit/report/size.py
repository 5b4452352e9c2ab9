"""`tinykit build` and `size`: where every byte of linked firmware goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinykit.report.generated import planned_data
from tinykit.report.picture import MemoryBar
from tinykit.report.report import Column, JsonValue, Report, Table, numbers

if TYPE_CHECKING:
    from tinykit.build.bounds import MemoryPlan
    from tinykit.build.size import MemoryName, SizeReport

_TITLES: dict[MemoryName, str] = {"sram": "SRAM", "flash": "flash"}


def size_report(
    sizes: SizeReport, elf: Path, planned: MemoryPlan, every_item: bool = False, arena: str = ""
) -> Report:
    """Bytes by kind for each memory, against plan and budget; `every_item` names them all.

    arena: a line on how good the arena is.
    """
    parts: list[Table | str] = [f"{elf} ({sizes.compiler})", ""]
    parts += [_kinds(sizes, memory) for memory in _TITLES]
    parts.append(_planned(sizes, planned))
    parts += [arena] if arena else []
    if every_item:
        parts += [_items(sizes, memory) for memory in _TITLES]
    data = {**_data(sizes, elf), "bounds": planned_data(planned)}
    return Report(data, tuple(parts))


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


def _planned(sizes: SizeReport, planned: MemoryPlan) -> Table:
    """What was known before compiling, beside what was linked."""
    bounds = planned.bounds
    exact_sram, exact_flash = sum(planned.sram.values()), sum(planned.flash.values())
    linked_sram = sizes.sram - sizes.bss - sizes.stack
    rows = (
        ("SRAM", "arena, parameters, state", f"= {exact_sram:,}", linked_sram),
        ("SRAM", "runtime's variables", f"≤ {bounds.bss:,}", sizes.bss),
        ("SRAM", "stack", f"≤ {bounds.stack:,}", sizes.stack),
        ("flash", "weights, biases, tables, …", f"= {exact_flash:,}", sizes.flash - sizes.code),
        ("flash", "code", f"≤ {bounds.code:,}", sizes.code),
    )
    columns = (*map(Column, ("memory", "what")), *numbers("before compiling B", "linked B"))
    lines = tuple((memory, what, before, f"{linked:,}") for memory, what, before, linked in rows)
    return Table(columns, lines, title="Known before compiling, and linked")


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
