"""Cycles by a published table: what the executed instructions cost a core without wait states.

Cortex-M4: Technical Reference Manual, DDI 0439D, tables 3-1 and 3-2 and section 3.3.2; floating
point, table 7-1. Cortex-M0+: DDI 0484C, table 3-1, with the fast multiplier. The tables leave
things open; these rules close them, towards more cycles where in doubt:

- P, the M4's pipeline refill of 1 to 3 cycles "depending on the alignment and width of the target
  instruction, and whether the processor manages to speculate the address early": 1, one more if the
  target is a 32-bit instruction that is not word-aligned, one more if the address comes from a
  register or from memory. Branches count as taken as often as they were.
- M4, neighbouring loads and stores: a single load costs 2, a single store 1 with an immediate
  offset, else 2. The cost is one less (but at least 1) right behind a single load whose result is
  not used in the address: within a straight run of instructions only.
- M4: one more where the address of a load or store was computed by the instruction before it (no
  forwarding path).
- Divisions take their 12 cycles, IT takes 1 (never folded), and instructions in an IT block cost
  what they do when their condition holds.

Left out: wait states of flash, contention on the bus and between fetches and loads, unaligned
accesses (1 or 2 more each), loads that fail to pair for their alignment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Protocol

from capstone import CS_ARCH_ARM, CS_MODE_MCLASS, CS_MODE_THUMB, Cs, CsInsn
from capstone.arm import ARM_OP_MEM, ARM_OP_REG, ARM_REG_PC

from bench.measuring.counting import Block, Layer
from tinykit.build.image import Image


@dataclass(frozen=True)
class Instruction:
    """What the tables ask about one instruction. `name` is the mnemonic in capitals without
    condition, width and S; `writes` and `address` are registers (capstone's numbers); `registers`
    is how many words a multiple transfer moves."""

    name: str
    size: int
    aligned: bool
    kind: str  # "load", "store", "multiple", "jump", "other"
    writes: frozenset[int]
    address: frozenset[int]
    registers: int = 0
    offset_register: bool = False
    indirect: bool = False  # a jump whose target comes from a register or memory


class Timing(Protocol):
    """A core's table."""

    def cost(self, one: Instruction, before: Instruction | None) -> int:
        """Cycles, without what a taken jump adds."""

    def leave(self, one: Instruction) -> int:
        """What a taken jump adds at its source."""

    def enter(self, target: Instruction) -> int:
        """What a taken jump adds for its target."""


LOADS = ("LDR", "LDRB", "LDRH", "LDRSB", "LDRSH", "LDREX", "LDREXB", "LDREXH")
STORES = ("STR", "STRB", "STRH", "STREX", "STREXB", "STREXH")
MULTIPLE = ("LDM", "STM", "LDMDB", "STMDB", "PUSH", "POP", "LDRD", "STRD", "VLDM", "VLDMIA",
            "VLDMDB", "VSTM", "VSTMIA", "VSTMDB", "VPUSH", "VPOP")  # fmt: skip
STACKED = ("PUSH", "POP", "VPUSH", "VPOP")
JUMPS = ("B", "BL", "BX", "BLX", "CBZ", "CBNZ", "TBB", "TBH")


class CortexM4:
    """DDI 0439D."""

    SLOW: ClassVar = {
        **dict.fromkeys(("SDIV", "UDIV"), 12),
        **dict.fromkeys(("TBB", "TBH", "MRS", "MSR", "CPS", "VLDR", "VSTR"), 2),
        **dict.fromkeys(("VDIV", "VSQRT"), 14),
        **dict.fromkeys(("VMLA", "VMLS", "VNMLA", "VNMLS", "VFMA", "VFMS", "VFNMA", "VFNMS"), 3),
    }

    def cost(self, one: Instruction, before: Instruction | None) -> int:
        cycles = self.SLOW.get(one.name, 1)
        if one.kind == "multiple":
            cycles = 1 + one.registers
        elif one.kind in ("load", "store"):
            cycles = 2 if one.kind == "load" or one.offset_register else 1
            depends = before is not None and before.writes & one.address
            if before is not None and before.kind == "load" and not depends:
                cycles = max(1, cycles - 1)
        late = before is not None and before.kind == "other" and before.writes & one.address
        return cycles + 1 if late and one.kind != "other" else cycles

    def leave(self, one: Instruction) -> int:
        return 2 if one.indirect else 1

    def enter(self, target: Instruction) -> int:
        return int(target.size == 4 and not target.aligned)


class CortexM0Plus:
    """DDI 0484C."""

    SLOW: ClassVar = {"MRS": 3, "MSR": 3, "DMB": 3, "DSB": 3, "ISB": 3, "WFE": 2, "WFI": 2}

    def cost(self, one: Instruction, before: Instruction | None) -> int:
        if one.kind == "multiple":
            return 1 + one.registers
        return 2 if one.kind in ("load", "store") else self.SLOW.get(one.name, 1)

    def leave(self, one: Instruction) -> int:
        # POP with PC takes 3 + N where POP takes 1 + N, and N counts PC
        return {"BL": 2, "POP": 2}.get(one.name, 1)

    def enter(self, target: Instruction) -> int:
        return 0


@dataclass(frozen=True)
class Published:
    """A table and where it is published."""

    timing: Timing
    title: str


TABLES = {
    "cortex-m4": Published(CortexM4(), "Cortex-M4 TRM, DDI 0439D, tables 3-1, 3-2 and 7-1"),
    "cortex-m0plus": Published(CortexM0Plus(), "Cortex-M0+ TRM, DDI 0484C, table 3-1"),
}

UNALIGNED = "(32-bit jump targets off a word)"  # their cycles belong to no one instruction

LEFT_OUT = (
    "left out: wait states, bus contention, unaligned accesses; branches count as taken as often "
    "as they were; the rules for what the tables leave open are in bench/measuring/cycles.py"
)


def published(cpu: str) -> Published | None:
    """The table for a core (GCC's -mcpu), None where none is used here: superscalar cores and those
    without a published table."""
    return TABLES.get(cpu)


@dataclass(frozen=True)
class Tally:
    """Cycles by layer; and executions and cycles by instruction: the histogram they come from."""

    by_layer: dict[Layer, int]
    by_name: dict[str, tuple[int, int]]


def tally(blocks: Iterable[Block], image: Image, timing: Timing) -> Tally:
    """What executed blocks cost. A taken jump's refill is counted with the jump."""
    decoded: dict[tuple[int, int], Sequence[Instruction]] = {}
    layers: dict[Layer, int] = {}
    names: dict[str, tuple[int, int]] = {}

    def add(layer: Layer, name: str, executed: int, cycles: int) -> None:
        layers[layer] = layers.get(layer, 0) + cycles
        before = names.get(name, (0, 0))
        names[name] = (before[0] + executed, before[1] + cycles)

    for block in blocks:
        key = (block.address, block.instructions)
        if key not in decoded:
            decoded[key] = decode(image, *key)
        run, times = decoded[key], block.executed
        for one, before in zip(run, (None, *run[:-1]), strict=True):
            add(block.layer, one.name, times, timing.cost(one, before) * times)
        add(block.layer, run[-1].name, 0, timing.leave(run[-1]) * block.left)
        if late := timing.enter(run[0]) * block.entered:
            add(block.layer, UNALIGNED, 0, late)
    return Tally(layers, names)


def decode(image: Image, address: int, count: int) -> list[Instruction]:
    """`count` instructions of an image from an address on."""
    offset = address - image.text_address
    return decode_bytes(image.text[offset : offset + 4 * count], address, count)


def decode_bytes(code: bytes, address: int, count: int) -> list[Instruction]:
    """`count` instructions of machine code."""
    found = [_instruction(raw) for raw in _disassembler().disasm(code, address, count)]
    if len(found) != count:
        raise ValueError(f"0x{address:08x}: only {len(found)} of {count} instructions are known")
    return found


@cache
def _disassembler() -> Cs:
    disassembler = Cs(CS_ARCH_ARM, CS_MODE_THUMB | CS_MODE_MCLASS)
    disassembler.detail = True
    return disassembler


def _instruction(raw: CsInsn) -> Instruction:
    name = raw.insn_name().upper()
    memory = next((o.mem for o in raw.operands if o.type == ARM_OP_MEM), None)
    writes = raw.regs_access()[1]
    address: tuple[int, ...] = ()
    kind, registers = "other", 0
    if name in LOADS or name in STORES:
        kind = "load" if name in LOADS else "store"
        if kind == "load":  # the result, without a base that is written back
            writes = [raw.operands[0].reg]
    elif name in MULTIPLE:
        kind = "multiple"
        listed = [o.reg for o in raw.operands if o.type == ARM_OP_REG]
        if memory is None and name not in STACKED:
            address, listed = (listed[0],), listed[1:]
        double = name.startswith("V") and raw.reg_name(listed[0]).startswith("d")
        registers = len(listed) * (2 if double else 1)
    elif name in JUMPS:
        kind = "jump"
    if memory is not None:
        address = (memory.base, memory.index)
    to_pc = ARM_REG_PC in writes and name not in JUMPS
    register_target = name in ("BX", "BLX", "TBB", "TBH") or to_pc
    return Instruction(
        name=name,
        size=raw.size,
        aligned=raw.address % 4 == 0,
        kind=kind,
        writes=frozenset(writes),
        address=frozenset(address) - {0},
        registers=registers,
        offset_register=bool(memory is not None and memory.index),
        indirect=register_target,
    )
