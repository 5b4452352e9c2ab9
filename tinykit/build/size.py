"""Where every byte of linked firmware goes: each is attributed to a named item, and the sum is the
ELF.

An item is a piece of an object file as the linker placed it (one function or one object, because
everything is compiled into sections of its own), or the padding before it. What the manifest states
exactly must be what the ELF holds, to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinykit.build.bounds import Bounds
from tinykit.build.image import Image, read_image
from tinykit.build.linkmap import Piece, read_map
from tinykit.errors import BuildError

MemoryName = Literal["sram", "flash"]

# The order in which reports list them. The first of each memory are exact before compiling.
EXACT: dict[MemoryName, tuple[str, ...]] = {
    "sram": ("arena", "parameters", "state", "replay", "guard", "frontend"),
    "flash": ("weights", "biases", "tables", "initial parameters", "frontend tables"),
}
CODE = ("generated code", "kernels", "firmware", "board support", "compiler library", "padding")
BSS = ("runtime", "firmware", "board support", "compiler library", "padding")
STACK = "stack"

MAX_PADDING = 15  # alignments go up to 16 bytes; a larger hole is not padding


@dataclass(frozen=True)
class Item:
    """Bytes of one memory. `kind` is of EXACT, CODE, BSS or STACK; `name` says whose they are."""

    memory: MemoryName
    kind: str
    name: str
    bytes: int


@dataclass(frozen=True)
class SizeReport:
    """All items of a firmware; sizes in bytes. `sram` and `flash` are the sums, `*_budget` what the
    board allows. `compiler` built it, e.g. "gcc-12.2". `bounds` is what was known before, if it was
    asked for."""

    items: tuple[Item, ...]
    sram: int
    flash: int
    sram_budget: int
    flash_budget: int
    compiler: str
    bounds: Bounds | None = None

    def kinds(self, memory: MemoryName) -> dict[str, int]:
        """Bytes by kind, in the order of reports; kinds without bytes are left out."""
        order = (*EXACT[memory], *(CODE if memory == "flash" else (*BSS, STACK)))
        sums = dict.fromkeys(order, 0)
        for item in self.items:
            if item.memory == memory:
                sums[item.kind] += item.bytes
        return {kind: size for kind, size in sums.items() if size}

    @property
    def code(self) -> int:
        """Flash that is not stated exactly before compiling."""
        kinds = self.kinds("flash")
        return sum(size for kind, size in kinds.items() if kind not in EXACT["flash"])

    @property
    def bss(self) -> int:
        """SRAM beside what is stated exactly and the stack: the runtime's own variables."""
        known = (*EXACT["sram"], STACK)
        return sum(size for kind, size in self.kinds("sram").items() if kind not in known)

    @property
    def stack(self) -> int:
        """The stack section."""
        return self.kinds("sram").get(STACK, 0)


def measure(
    elf: Path,
    symbols: Mapping[str, str],
    expected: Mapping[str, Mapping[str, int]],
    budgets: tuple[int, int],
    compiler: str,
    bounds: Bounds | None = None,
) -> SizeReport:
    """Attributes every byte of `elf` (its map beside it, firmware.map).

    `symbols` says which item each object of generated code belongs to, `expected` the bytes of the
    exact items ({"sram": {"arena": …}, "flash": …}), `budgets` the board's SRAM and flash. Raises
    BuildError when a byte cannot be attributed or an exact item is not as planned.
    """
    image = read_image(elf)
    items = _items(image, read_map(elf.with_suffix(".map")), symbols)
    report = SizeReport(
        items=tuple(sorted(items, key=lambda i: (i.memory, i.kind, -i.bytes, i.name))),
        sram=sum(_size(image, name) for name in (".stack", ".data", ".bss")),
        flash=sum(_size(image, name) for name in (".text", ".data")),
        sram_budget=budgets[0],
        flash_budget=budgets[1],
        compiler=compiler,
        bounds=bounds,
    )
    _check_sums(image, report)
    _check_exact(elf, report, expected)
    return report


def _size(image: Image, name: str) -> int:
    section = image.sections.get(name)
    return section.size if section else 0


def _items(image: Image, pieces: list[Piece], symbols: Mapping[str, str]) -> list[Item]:
    unknown = [n for n in image.sections if n not in (".text", ".stack", ".data", ".bss")]
    if any(image.sections[name].size for name in unknown):
        raise BuildError(f"{image.path}: section {unknown[0]} is not accounted for")
    items = [Item("sram", STACK, "stack", _size(image, ".stack"))]
    memories: dict[str, tuple[MemoryName, ...]] = {
        ".text": ("flash",),
        ".data": ("sram", "flash"),  # variables, and the values they start with
        ".bss": ("sram",),
    }
    for output, where in memories.items():
        section = image.sections.get(output)
        if section is None:
            continue
        own = [p for p in pieces if p.output == output]
        for memory in where:
            items += _section_items(image, memory, output, own, symbols)
    return items


def _section_items(
    image: Image, memory: MemoryName, output: str, pieces: list[Piece], symbols: Mapping[str, str]
) -> list[Item]:
    section = image.sections[output]
    items, at = [], section.address
    for piece in pieces:
        gap = piece.address - at
        if gap:
            items.append(_padding(image, memory, at, gap))
        kind, name = _attribute(memory, piece, symbols)
        items.append(Item(memory, kind, name, piece.size))
        at = piece.address + piece.size
    if end := section.address + section.size - at:
        items.append(_padding(image, memory, at, end))
    return items


def _padding(image: Image, memory: MemoryName, address: int, size: int) -> Item:
    if not 0 <= size <= MAX_PADDING:
        raise BuildError(
            f"{image.path}: {size:,} B at 0x{address:08x} belong to nothing the linker's map names"
        )
    return Item(memory, "padding", "padding", size)


_SECTION_PREFIX = re.compile(
    r"^\.(text|rodata|data|bss)\.(?:unlikely\.|hot\.|startup\.|rel\.ro\.)?"
)


def _attribute(memory: MemoryName, piece: Piece, symbols: Mapping[str, str]) -> tuple[str, str]:
    """The kind and name of a piece."""
    path = Path(piece.object.split("(", 1)[0])
    name = _SECTION_PREFIX.sub("", piece.section)
    if name in symbols:
        return symbols[name], name
    if ".a(" in piece.object and path.name in ("libgcc.a", "libcompiler_rt.a"):
        member = piece.object.rsplit("(", 1)[1].rstrip(")")
        return "compiler library", member if name.startswith(".") else name.rsplit(".", 1)[-1]
    if piece.section == ".vectors":
        return "board support", "vectors"
    if name.startswith("."):  # not in a section of its own: string literals and the like
        name = f"constants of {path.name}" if memory == "flash" else f"variables of {path.name}"
    parts = path.parts
    if "support" in parts:
        return "board support", name
    if "model" in parts:
        return ("generated code" if memory == "flash" else "runtime"), name
    if any(part.startswith("lib") for part in parts):
        return ("kernels" if memory == "flash" else "runtime"), name
    return "firmware", name


def _check_sums(image: Image, report: SizeReport) -> None:
    for memory, total in (("sram", report.sram), ("flash", report.flash)):
        items = sum(item.bytes for item in report.items if item.memory == memory)
        if items != total:
            raise BuildError(
                f"{image.path}: the items of {memory} sum to {items:,} B, the ELF has {total:,} B"
            )


def _check_exact(elf: Path, report: SizeReport, expected: Mapping[str, Mapping[str, int]]) -> None:
    memories: tuple[MemoryName, ...] = ("sram", "flash")
    for memory in memories:
        kinds = report.kinds(memory)
        for kind in EXACT[memory]:
            planned, linked = expected.get(memory, {}).get(kind, 0), kinds.get(kind, 0)
            if planned != linked:
                raise BuildError(
                    f"{elf}: {kind} take {linked:,} B of {memory}, the plan said {planned:,} B",
                    "generated code and its model.json do not belong together: generate again",
                )
