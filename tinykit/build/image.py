"""What the build tools need of a linked ELF: sections, symbols and the bytes of code."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tinykit.errors import BuildError


@dataclass(frozen=True)
class Section:
    """An output section; `load` is its address in flash when it is copied from there."""

    name: str
    address: int
    size: int


@dataclass(frozen=True)
class Symbol:
    """A function or object; the address of a function is without its Thumb bit."""

    name: str
    address: int
    size: int
    function: bool


@dataclass(frozen=True)
class Image:
    """One ELF. `code_ranges` are the address ranges of .text that hold instructions."""

    path: Path
    sections: dict[str, Section]
    symbols: tuple[Symbol, ...]
    text: bytes
    text_address: int
    code_starts: tuple[int, ...]
    code_kinds: tuple[bool, ...]

    def address_of(self, name: str) -> int | None:
        """The address of a symbol, or None."""
        return next((s.address for s in self.symbols if s.name == name), None)

    def is_code(self, address: int) -> bool:
        """True where .text holds instructions (and not a literal pool or constants)."""
        if not self.text_address <= address < self.text_address + len(self.text):
            return False
        index = bisect.bisect_right(self.code_starts, address) - 1
        return index >= 0 and self.code_kinds[index]

    def data_end(self, address: int) -> int:
        """The first address after `address` that holds instructions again."""
        index = bisect.bisect_right(self.code_starts, address)
        while index < len(self.code_starts) and not self.code_kinds[index]:
            index += 1
        end = self.text_address + len(self.text)
        return self.code_starts[index] if index < len(self.code_starts) else end

    def halfword(self, address: int) -> int:
        """The 16 bits of .text at an address."""
        offset = address - self.text_address
        return int.from_bytes(self.text[offset : offset + 2], "little")

    def word(self, address: int) -> int:
        """The 32 bits of .text at an address."""
        return self.halfword(address) | self.halfword(address + 2) << 16


def read_image(path: Path) -> Image:
    """Reads an ELF. Raises BuildError when it is not one of ours."""
    try:
        with path.open("rb") as file:
            return _read(path, ELFFile(file))
    except (OSError, ELFError) as error:
        raise BuildError(f"{path}: cannot read the ELF ({error})") from error


def _read(path: Path, elf: ELFFile) -> Image:
    sections = {
        s.name: Section(s.name, int(s["sh_addr"]), int(s["sh_size"]))
        for s in elf.iter_sections()
        if s["sh_flags"] & 2  # SHF_ALLOC
    }
    text = elf.get_section_by_name(".text")
    table = elf.get_section_by_name(".symtab")
    if text is None or not isinstance(table, SymbolTableSection):
        raise BuildError(f"{path}: the ELF has no .text or no symbols")
    code = elf.get_section_index(".text")  # sections of debugging information have marks, too
    symbols: list[Symbol] = []
    marks: dict[int, bool] = {}
    for entry in table.iter_symbols():
        kind, value = entry["st_info"]["type"], int(entry["st_value"])
        if kind in ("STT_FUNC", "STT_OBJECT"):
            function = kind == "STT_FUNC"
            address = value & ~1 if function else value
            symbols.append(Symbol(entry.name, address, int(entry["st_size"]), function))
        elif kind == "STT_NOTYPE" and entry["st_shndx"] != "SHN_ABS":
            if entry.name[:2] in ("$t", "$d"):
                if entry["st_shndx"] == code:
                    marks[value] = entry.name.startswith("$t")
            elif entry.name.startswith("tk_"):
                symbols.append(Symbol(entry.name, value, 0, False))
    starts = sorted(marks)
    return Image(
        path=path,
        sections=sections,
        symbols=tuple(sorted(symbols, key=lambda s: (s.address, -s.size, s.name))),
        text=bytes(text.data()),
        text_address=int(text["sh_addr"]),
        code_starts=tuple(starts),
        code_kinds=tuple(marks[start] for start in starts),
    )
