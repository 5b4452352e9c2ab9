"""Symbols of an ELF file: addresses by name, and names by address."""

from __future__ import annotations

from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tinykit.errors import TargetError


def read_symbols(elf: Path) -> dict[str, tuple[int, int]]:
    """Every named function and object: name → (address without the Thumb bit, size in bytes).

    Raises TargetError if the file cannot be read as ELF.
    """
    try:
        with elf.open("rb") as file:
            table = ELFFile(file).get_section_by_name(".symtab")
            if not isinstance(table, SymbolTableSection):
                return {}
            found = {}
            for symbol in table.iter_symbols():
                kind = symbol["st_info"]["type"]
                if symbol.name and kind in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE"):
                    address = symbol["st_value"]
                    found[symbol.name] = (
                        address & ~1 if kind == "STT_FUNC" else address,
                        symbol["st_size"],
                    )
            return found
    except (OSError, ELFError) as error:
        raise TargetError(f"cannot read {elf} as an ELF file: {error}") from error


def nearest_symbol(elf: Path, address: int) -> str:
    """The function at `address`, as name+0xoffset; the bare address where there is none."""
    address &= ~1
    best = ("", -1)
    for name, (start, size) in read_symbols(elf).items():
        if name.startswith("$") or not start <= address < start + max(size, 1):
            continue
        if start > best[1]:
            best = (name, start)
    return f"{best[0]}+0x{address - best[1]:x}" if best[0] else f"0x{address:08x}"
