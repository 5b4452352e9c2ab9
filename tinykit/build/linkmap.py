"""Linker maps: which piece of which object file lies where. Reads GNU ld's and LLD's format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tinykit.errors import BuildError

ALLOCATED = frozenset({".text", ".data", ".bss", ".stack"})


@dataclass(frozen=True)
class Piece:
    """One input section: bytes of `section` from `object`, in the output section `output`."""

    output: str
    section: str
    address: int
    size: int
    object: str


_GNU_OUTPUT = re.compile(r"^(\.[\w.]+)(\s|$)")
_GNU_PIECE = re.compile(r"^ (\S+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S.*)$")
_GNU_LONG_NAME = re.compile(r"^ ([.\w$]\S*)$")
_LLD_LINE = re.compile(r"^ *([0-9a-f]+) +[0-9a-f]+ +([0-9a-f]+) +\d+ ( *)(\S.*)$")
_LLD_PIECE = re.compile(r"^(.*):\(([^()]*)\)$")


def read_map(path: Path) -> list[Piece]:
    """The pieces of .text, .data and .bss that take up memory, by address. Raises BuildError."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BuildError(f"{path}: cannot read the linker's map ({error.strerror})") from error
    pieces = _read_gnu(text) if "Linker script and memory map" in text else _read_lld(text)
    return sorted(pieces, key=lambda piece: piece.address)


def _read_gnu(text: str) -> list[Piece]:
    pieces = []
    output = name = ""
    for line in text.split("Linker script and memory map", 1)[1].splitlines():
        if match := _GNU_OUTPUT.match(line):
            output, name = match[1], ""
        elif match := _GNU_LONG_NAME.match(line):
            name = match[1]
        else:
            if name:
                line = f" {name} {line.strip()}"
                name = ""
            match = _GNU_PIECE.match(line)
            if match and output in ALLOCATED and match[1] != "*fill*" and int(match[3], 16):
                pieces.append(
                    Piece(output, match[1], int(match[2], 16), int(match[3], 16), match[4])
                )
    return pieces


def _read_lld(text: str) -> list[Piece]:
    pieces = []
    output = ""
    for line in text.splitlines():
        match = _LLD_LINE.match(line)
        if not match:
            continue
        address, size, indent, rest = int(match[1], 16), int(match[2], 16), match[3], match[4]
        if not indent:
            output = rest
        elif (
            len(indent) == 8 and output in ALLOCATED and size and (piece := _LLD_PIECE.match(rest))
        ):
            pieces.append(Piece(output, piece[2], address, size, piece[1]))
    return pieces
