"""What a model adds to a user's firmware, in bytes, and what the rest of the ELF takes.

Every piece of the ELF is the model's or the firmware's. The model's are the pieces that can be
reached from its public functions, by the references in the object files: generated code, kernels,
tables, and the compiler's helpers that kernels call. The rest (start-up, link, board support and
the memory functions, which any firmware has) is the firmware's. Padding belongs to what it stands
before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tinykit.build.firmware import Firmware
from tinykit.build.image import read_image
from tinykit.build.linkmap import Piece, read_map
from tinykit.build.objects import archive_members, read_objects
from tinykit.build.stack import StackAnalysis
from tinykit.codegen.manifest import Manifest
from tinykit.errors import BuildError

STORED = ("weights", "biases")  # flash that is not code


@dataclass(frozen=True)
class Footprint:
    """Bytes. The model: arena (with resident input and output), parameters and state, variables of
    its kernels, and the deepest stack of infer() itself; flash of code (kernels, generated code,
    multipliers, tables, padding) and of weights with biases. The firmware: all of the ELF in
    `firmware_sram` and `elf_flash`, and what is not the model's in `firmware_flash`."""

    arena: int
    parameters: int
    variables: int
    stack: int
    firmware_sram: int
    flash_code: int
    flash_weights: int
    firmware_flash: int

    @property
    def sram(self) -> int:
        """What the model adds."""
        return self.arena + self.parameters + self.variables + self.stack

    @property
    def elf_flash(self) -> int:
        """All flash."""
        return self.flash_code + self.flash_weights + self.firmware_flash


def footprint(firmware: Firmware, manifest: Manifest) -> Footprint:
    """Takes the ELF apart. Raises BuildError where the parts don't add up to it."""
    image = read_image(firmware.elf)
    report = firmware.report
    pieces = read_map(firmware.elf.with_suffix(".map"))
    owned = _owned(firmware, manifest)
    model, other = {"sram": 0, "flash": 0}, {"sram": 0, "flash": 0}
    ends: dict[str, int] = {name: s.address for name, s in image.sections.items()}
    for piece in pieces:
        if piece.output not in (".text", ".data", ".bss"):
            continue
        size = piece.address + piece.size - ends[piece.output]  # with the padding before it
        ends[piece.output] = piece.address + piece.size
        side = model if _node(piece) in owned else other
        for memory in _memories(piece.output):
            side[memory] += size
    for name, end in ends.items():
        if name in (".text", ".data", ".bss"):
            section = image.sections[name]
            for memory in _memories(name):
                other[memory] += section.address + section.size - end
    sram, flash = manifest.memory.sram, manifest.memory.flash
    stored = sum(flash.get(kind, 0) for kind in STORED)
    stated = sum(sram.values())
    result = Footprint(
        arena=sram.get("arena", 0),
        parameters=stated - sram.get("arena", 0),
        variables=model["sram"] - stated,
        stack=StackAnalysis(image).depth_of(f"{manifest.name}_infer"),
        firmware_sram=report.sram,
        flash_code=model["flash"] - stored,
        flash_weights=stored,
        firmware_flash=other["flash"],
    )
    _check("SRAM", model["sram"] + other["sram"] + report.stack, report.sram)
    _check("flash", result.elf_flash, report.flash)
    if result.variables < 0 or result.flash_code < 0:
        raise BuildError(f"{firmware.elf}: objects of the model are not reached from its functions")
    return result


def _check(memory: str, items: int, total: int) -> None:
    if items != total:
        raise BuildError(f"the items of {memory} sum to {items:,} B, the ELF has {total:,} B")


def _memories(output: str) -> tuple[str, ...]:
    return {".text": ("flash",), ".bss": ("sram",)}.get(output, ("sram", "flash"))


def _file(path: str) -> str:
    """An object's name in maps and graphs alike: lib/conv2d, model/kws, libgcc.a(_udivsi3.o)."""
    archive, _, member = path.partition("(")
    if member:
        return f"{Path(archive).name}({member}"
    return "/".join(Path(path).parts[-2:])


def _node(piece: Piece) -> str:
    return f"{_file(piece.object)}:{piece.section}"


def _owned(firmware: Firmware, manifest: Manifest) -> set[str]:
    """The pieces that can be reached from the model's functions, by name."""
    graph = read_objects(_objects(firmware))
    functions = [s for s in graph.symbols if s.startswith(f"{manifest.name}_")]
    reached = graph.reach(functions)
    return {name for name in reached if not name.startswith("support/")}


def _objects(firmware: Firmware) -> Iterable[tuple[str, bytes]]:
    root = firmware.elf.parent
    for path in sorted(root.rglob("*.o")):
        yield _file(str(path)), path.read_bytes()
    library = Path(firmware.elf.with_name("compiler-library.txt").read_text().strip())
    for name, data in archive_members(library):
        yield f"{library.name}({name})", data
