"""Object files as a graph of sections that refer to sections. What a link keeps is what can be
reached from its entry; this is how code sizes are known without linking."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

ALLOCATE, WRITE = 2, 1


@dataclass(frozen=True)
class Node:
    """One section of one object: `memory` is "flash", "data" (flash and SRAM) or "bss"; sizes in
    bytes. `refs` are names of nodes, or of symbols that no object given defines."""

    name: str
    memory: str
    size: int
    align: int
    refs: frozenset[str]


@dataclass
class ObjectGraph:
    """All sections of some objects, and which node defines a symbol."""

    nodes: dict[str, Node] = field(default_factory=dict)
    symbols: dict[str, str] = field(default_factory=dict)
    weak: set[str] = field(default_factory=set)

    def reach(self, roots: Iterable[str]) -> set[str]:
        """The names of all nodes that symbols or nodes in `roots` need."""
        found: set[str] = set()
        work = list(roots)
        while work:
            name = work.pop()
            node = self.symbols.get(name, name)
            if node in self.nodes and node not in found:
                found.add(node)
                work += self.nodes[node].refs
        return found


def read_objects(files: Iterable[tuple[str, bytes]]) -> ObjectGraph:
    """The graph of object files given as (name, contents); the first that defines a symbol wins."""
    graph = ObjectGraph()
    for name, contents in files:
        _add(graph, name, ELFFile(io.BytesIO(contents)))
    return graph


def archive_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """The object files in an ar archive (GNU's or BSD's names), as (name, contents)."""
    data = path.read_bytes()
    at, names = 8, b""
    while at + 60 <= len(data):
        header = data[at : at + 60]
        size = int(header[48:58])
        body = data[at + 60 : at + 60 + size]
        label = header[:16].decode().rstrip()
        at += 60 + size + size % 2
        if label == "//":
            names = body
        elif label.startswith("#1/"):
            length = int(label[3:])
            yield body[:length].rstrip(b"\0").decode(), body[length:]
        elif label not in ("/", "__.SYMDEF", "/SYM64/"):
            if label.startswith("/"):
                label = names[int(label[1:]) :].split(b"\n", 1)[0].decode()
            yield label.rstrip("/"), body


def _memory(section: object) -> str | None:
    flags, kind = section["sh_flags"], section["sh_type"]  # type: ignore[index]
    if not flags & ALLOCATE or kind == "SHT_ARM_EXIDX":
        return None
    if kind == "SHT_NOBITS":
        return "bss"
    return "data" if flags & WRITE else "flash"


def _add(graph: ObjectGraph, file: str, elf: ELFFile) -> None:
    sections = list(elf.iter_sections())
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return
    symbols = list(table.iter_symbols())
    names: dict[int, str] = {}
    for index, section in enumerate(sections):
        unwanted = section.name.startswith((".ARM.", ".stack_sizes"))
        if _memory(section) and section["sh_size"] and not unwanted:
            names[index] = f"{file}:{section.name}"
            if names[index] in graph.nodes:
                names[index] += f"#{index}"
    for symbol in symbols:
        index, bind = symbol["st_shndx"], symbol["st_info"]["bind"]
        if bind == "STB_LOCAL" or not isinstance(index, int) or index not in names:
            continue
        weak = bind == "STB_WEAK"
        if symbol.name not in graph.symbols or (symbol.name in graph.weak and not weak):
            graph.symbols[symbol.name] = names[index]
            (graph.weak.add if weak else graph.weak.discard)(symbol.name)
    refs: dict[int, set[str]] = {index: set() for index in names}
    for section in sections:
        if isinstance(section, RelocationSection) and section["sh_info"] in refs:
            for relocation in section.iter_relocations():
                symbol = symbols[relocation["r_info_sym"]]
                index, bind = symbol["st_shndx"], symbol["st_info"]["bind"]
                local = bind == "STB_LOCAL" and isinstance(index, int)
                if target := names.get(index) if local else symbol.name:
                    refs[section["sh_info"]].add(target)
    for index, name in names.items():
        section = sections[index]
        graph.nodes[name] = Node(
            name=name,
            memory=_memory(section) or "",
            size=int(section["sh_size"]),
            align=max(1, int(section["sh_addralign"])),
            refs=frozenset(refs[index]),
        )
