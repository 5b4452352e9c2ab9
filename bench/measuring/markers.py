"""Where generated code calls the kernels: which instruction begins the work of which layer.

Every op of a model has calls of its own in the generated C, in straight lines or in loops over
rows. The compiler's line table (DWARF) says which line of C a call instruction comes from, and the
line says which op it belongs to: by its descriptor, `&<model>_<op>`, or, where several ops share
one descriptor or there is none, by the comment above it, which begins with the op's name.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elftools.dwarf.compileunit import CompileUnit
from elftools.elf.elffile import ELFFile

from tinykit.build.image import Image
from tinykit.build.thumb import Flow, decode
from tinykit.codegen.constants import identifier
from tinykit.errors import BuildError

LIBGCC = "-fbuilding-libgcc"  # among the flags of what came with the compiler
STEP = re.compile(r"\btk_step_\w+\(")  # what begins and ends a training step: of no layer


@dataclass(frozen=True)
class Markers:
    """`calls`: address of a call in generated code → index of its op, or the number of ops for what
    begins and ends a training step. `ranges`: where the generated functions lie. `flags`: what the
    compiler says it was called with, generated code and kernels first, then other sets of flags in
    the firmware."""

    calls: dict[int, int]
    ranges: tuple[tuple[int, int], ...]
    flags: tuple[str, ...]

    def generated(self, address: int) -> bool:
        """Whether an instruction belongs to generated code."""
        return any(start <= address < end for start, end in self.ranges)


def find_markers(
    image: Image,
    source: Path,
    prefix: str,
    ops: Sequence[str],
    silent: Sequence[int] = (),
    function: str = "infer",
) -> Markers:
    """The calls in the code compiled from `source` (the generated C file of model `prefix`).

    `ops` are the names of the ops of `function` ("infer" or "train") in order, `silent` the indices
    of those without code. Raises BuildError where a call belongs to no op or an op has no call.
    """
    with image.path.open("rb") as file:
        elf = ELFFile(file)
        if not elf.has_dwarf_info():
            raise BuildError(f"{image.path}: no line table", "build with GCC and -g")
        units = list(elf.get_dwarf_info().iter_CUs())
        own = [u for u in units if Path(_text(u, "DW_AT_name")).name == source.name]
        if len(own) != 1:
            raise BuildError(f"{image.path}: {len(own)} objects made of {source.name}, not one")
        flags = dict.fromkeys(_text(unit, "DW_AT_producer") for unit in (*own, *units))
        functions = dict(_functions(own[0]))
        rows = sorted(_lines(own[0], source.name), key=lambda row: row[0])  # the last one holds
    entry = f"{prefix}_{function}"
    reached = _reached(image, functions, entry)
    lines = source.read_text(encoding="utf-8").splitlines()
    owner = _Owner(prefix, ops, lines)
    starts = [address for address, _ in rows]
    calls = {}
    for start, end in reached:
        for address, target in _calls(image, start, end):
            if any(low <= target < high for low, high in reached):
                continue
            row = bisect.bisect_right(starts, address) - 1
            calls[address] = owner.op(rows[row][1])
    for index in sorted(set(range(len(ops))) - set(calls.values()) - set(silent)):
        raise BuildError(
            f"{source.name}: no call instruction belongs to {ops[index]}",
            "the compiler merged it with another call: build with -fno-crossjumping",
        )
    ours = (text for text in flags if text.startswith("GNU C") and LIBGCC not in text)
    return Markers(calls, tuple(reached), tuple(ours))


def _text(unit: CompileUnit, attribute: str) -> str:
    found = unit.get_top_DIE().attributes.get(attribute)
    return found.value.decode() if found else ""


def _functions(unit: CompileUnit) -> Iterator[tuple[str, tuple[int, int]]]:
    """The functions that exist as code of their own: name, first address, end."""
    for die in unit.get_top_DIE().iter_children():
        low, high = die.attributes.get("DW_AT_low_pc"), die.attributes.get("DW_AT_high_pc")
        if die.tag == "DW_TAG_subprogram" and low and high and low.value:
            origin = (
                die.get_DIE_from_attribute("DW_AT_abstract_origin")
                if ("DW_AT_abstract_origin" in die.attributes)
                else die
            )
            name = origin.attributes["DW_AT_name"].value.decode()
            yield name, (low.value & ~1, (low.value & ~1) + high.value)


def _lines(unit: CompileUnit, file_name: str) -> Iterator[tuple[int, int]]:
    """(address, line) of every row of the line table that is of the file itself."""
    program = unit.dwarfinfo.line_program_for_CU(unit)
    if program is None:
        return
    version = program.header.version
    line = 0
    for entry in program.get_entries():
        state = entry.state
        if state is None or state.end_sequence:
            continue
        files = program.header.file_entry
        name = files[state.file if version >= 5 else state.file - 1].name.decode()
        if Path(name).name == file_name:
            line = state.line
        yield state.address, line


def _reached(
    image: Image, functions: dict[str, tuple[int, int]], entry: str
) -> list[tuple[int, int]]:
    """The address ranges of a function and all of `functions` that it calls."""
    if entry not in functions:
        raise BuildError(f"{image.path}: the ELF has no function `{entry}`")
    found: list[tuple[int, int]] = []
    work = [functions[entry]]
    while work:
        area = work.pop()
        if area not in found:
            found.append(area)
            targets = {target for _, target in _calls(image, *area)}
            work += [other for other in functions.values() if other[0] in targets]
    return sorted(found)


def _calls(image: Image, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(address, target) of the calls in a function, tail calls included."""
    address = start
    while address < end:
        if not image.is_code(address):
            address += 2
            continue
        instruction = decode(image, address)
        leaves = instruction.flow is Flow.CALL or (
            instruction.flow in (Flow.JUMP, Flow.BRANCH) and not start <= instruction.target < end
        )
        if leaves:
            yield address, instruction.target
        address += instruction.size


class _Owner:
    """Says which op a line of generated C belongs to."""

    def __init__(self, prefix: str, ops: Sequence[str], lines: Sequence[str]) -> None:
        self.prefix, self.ops, self.lines = prefix, ops, lines
        self.descriptors: dict[str, int] = {}
        for index, op in enumerate(ops):
            self.descriptors.setdefault(f"{prefix}_{identifier(op)}", index)
        defined = re.findall(r"^static const tk_\w+ (\w+) = \{$", "\n".join(lines), re.MULTILINE)
        self.owned = {self.descriptors[name] for name in defined if name in self.descriptors}

    def op(self, line: int) -> int:
        """The index of the op of the call that begins on a line (numbered from 1); the number of
        ops for a call that is the training step's own."""
        statement = ""
        for text in self.lines[line - 1 :]:
            statement += text
            if text.rstrip().endswith((";", "{", "}")):
                break
        if STEP.search(statement):
            return len(self.ops)
        named = re.search(rf"&({re.escape(self.prefix)}_\w+)", statement)
        described = self.descriptors.get(named[1]) if named else None
        commented = self._commented(line)
        if described is not None and (commented is None or commented in self.owned):
            return described
        if commented is None:
            raise BuildError(f"line {line} of the generated C belongs to no layer: {statement}")
        return commented

    def _commented(self, line: int) -> int | None:
        """The op that the nearest comment above a line is about."""
        for text in reversed(self.lines[: line - 1]):
            if text.startswith(("const int8_t *", "static void ", "tk_step ", "}")):
                return None
            found = re.match(r"\s*/\* (\S.*)", text)
            if found:
                named = [op for op in self.ops if found[1].startswith(f"{op}: ")]
                if named:
                    return self.ops.index(max(named, key=len))
        return None
