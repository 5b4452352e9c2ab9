"""Just enough Thumb-2 to follow a function's control flow and its stack pointer.

The encodings are in the Armv8-M Architecture Reference Manual (DDI 0553), chapter C2. What changes
SP in a way that is not known at compile time, and what jumps through a register, is reported as
such and never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from tinykit.build.image import Image

SP, LR, PC = 13, 14, 15


class Flow(Enum):
    """What an instruction does to control flow."""

    NEXT = auto()  # goes on
    BRANCH = auto()  # may go to `target`, or on
    JUMP = auto()  # goes to `target`
    CALL = auto()  # calls `target`, then goes on
    RETURN = auto()
    STOP = auto()  # never goes on
    TABLE = auto()  # TBB or TBH: entries of `width` bytes follow
    INDIRECT = auto()  # through a register or memory: not known here
    UNKNOWN_STACK = auto()  # SP becomes something not known at compile time


@dataclass(frozen=True)
class Instruction:
    """`push` is by how many bytes the stack grows (negative when it shrinks); `conditional` counts
    the instructions after an IT that it makes conditional."""

    size: int
    flow: Flow = Flow.NEXT
    target: int = 0
    push: int = 0
    width: int = 0
    conditional: int = 0


def decode(image: Image, address: int) -> Instruction:
    """The instruction at an address."""
    first = image.halfword(address)
    if first >> 11 in (0b11101, 0b11110, 0b11111):
        return _decode32(first, image.halfword(address + 2), address)
    return _decode16(first, address)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def _ones(value: int) -> int:
    return value.bit_count()


def _decode16(op: int, address: int) -> Instruction:
    base = address + 4
    if op & 0xFE00 == 0xB400:  # PUSH
        return Instruction(2, push=4 * _ones(op & 0x1FF))
    if op & 0xFE00 == 0xBC00:  # POP
        flow = Flow.RETURN if op & 0x100 else Flow.NEXT
        return Instruction(2, flow, push=-4 * _ones(op & 0x1FF))
    if op & 0xFF00 == 0xB000:  # ADD, SUB SP, SP, #imm7
        amount = 4 * (op & 0x7F)
        return Instruction(2, push=amount if op & 0x80 else -amount)
    if op & 0xFC00 == 0x4400:
        return _decode_high_register(op)
    if op & 0xF000 == 0xD000 and op & 0x0F00 < 0x0E00:  # B<cond>
        return Instruction(2, Flow.BRANCH, base + 2 * _signed(op & 0xFF, 8))
    if op & 0xFF00 == 0xDE00:  # UDF
        return Instruction(2, Flow.STOP)
    if op & 0xF800 == 0xE000:  # B
        return Instruction(2, Flow.JUMP, base + 2 * _signed(op & 0x7FF, 11))
    if op & 0xF500 == 0xB100:  # CBZ, CBNZ
        return Instruction(2, Flow.BRANCH, base + ((op >> 3 & 0x40) | (op >> 2 & 0x3E)))
    if op & 0xFF00 == 0xBF00 and op & 0xF:  # IT
        mask = op & 0xF
        return Instruction(2, conditional=4 - ((mask & -mask).bit_length() - 1))
    return Instruction(2)


def _decode_high_register(op: int) -> Instruction:
    kind, destination = op >> 8 & 3, (op >> 4 & 8) | (op & 7)
    if kind == 3:  # BX, BLX
        returns = op >> 3 & 0xF == LR and not op & 0x80
        return Instruction(2, Flow.RETURN if returns else Flow.INDIRECT)
    if kind != 1 and destination == SP:  # ADD, MOV
        return Instruction(2, Flow.UNKNOWN_STACK)
    if kind != 1 and destination == PC:
        return Instruction(2, Flow.INDIRECT)
    return Instruction(2)


def _decode32(op: int, second: int, address: int) -> Instruction:
    if op & 0xF800 == 0xF000:
        if second & 0x8000:
            return _decode_branch(op, second, address + 4)
        return _decode_immediate(op, second)
    if op & 0xFE00 == 0xE800:
        return _decode_multiple(op, second)
    if op & 0xFE00 == 0xEC00:
        return _decode_vector(op, second)
    if op & 0xFE00 == 0xEA00 and second >> 8 & 0xF == SP:  # data processing, register
        return Instruction(4, Flow.UNKNOWN_STACK)
    if op & 0xFE00 == 0xF800:
        return _decode_single(op, second)
    return Instruction(4)


def _decode_branch(op: int, second: int, base: int) -> Instruction:
    sign = op >> 10 & 1
    if second & 0x1000:  # B (T4), BL
        first, other = ~(second >> 13 ^ sign) & 1, ~(second >> 11 ^ sign) & 1
        offset = sign << 24 | first << 23 | other << 22 | (op & 0x3FF) << 12 | (second & 0x7FF) << 1
        flow = Flow.CALL if second & 0x4000 else Flow.JUMP
        return Instruction(4, flow, base + _signed(offset, 25))
    if second & 0x4000:  # the loop instructions of Armv8.1-M fall through in the end
        return Instruction(4)
    if op >> 6 & 0xF < 0xE:  # B<cond> (T3)
        parts = sign << 20 | (second >> 11 & 1) << 19 | (second >> 13 & 1) << 18
        offset = parts | (op & 0x3F) << 12 | (second & 0x7FF) << 1
        return Instruction(4, Flow.BRANCH, base + _signed(offset, 21))
    if op & 0xFFF0 == 0xF7F0 and second & 0xF000 == 0xA000:  # UDF
        return Instruction(4, Flow.STOP)
    return Instruction(4, Flow.UNKNOWN_STACK if _writes_stack_register(op, second) else Flow.NEXT)


def _writes_stack_register(op: int, second: int) -> bool:
    """MSR MSP or PSP."""
    return op & 0xFFE0 == 0xF380 and second & 0xFF in (8, 9)


def _decode_immediate(op: int, second: int) -> Instruction:
    if second >> 8 & 0xF != SP:
        return Instruction(4)
    value = (op >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | (second & 0xFF)
    if op & 0xFBFF == 0xF10D:  # ADD SP, SP, #
        return Instruction(4, push=-_expand(value))
    if op & 0xFBFF == 0xF1AD:  # SUB SP, SP, #
        return Instruction(4, push=_expand(value))
    if op & 0xFBFF == 0xF20D:  # ADDW
        return Instruction(4, push=-value)
    if op & 0xFBFF == 0xF2AD:  # SUBW
        return Instruction(4, push=value)
    return Instruction(4, Flow.UNKNOWN_STACK)


def _expand(value: int) -> int:
    """ThumbExpandImm: a modified immediate constant."""
    byte = value & 0xFF
    if value >> 10 == 0:
        return (byte, byte * 0x00010001, byte * 0x01000100, byte * 0x01010101)[value >> 8 & 3]
    rotation, unrotated = value >> 7, 0x80 | (value & 0x7F)
    return (unrotated >> rotation | unrotated << (32 - rotation)) & 0xFFFFFFFF


def _decode_multiple(op: int, second: int) -> Instruction:
    """LDM, STM, LDRD, STRD, TBB, TBH."""
    base, writeback = op & 0xF, bool(op & 0x20)
    if not op & 0x40:  # multiple
        loads_pc = bool(op & 0x10 and second & 0x8000)
        size = 4 * _ones(second)
        if base == SP and writeback:
            flow = Flow.RETURN if loads_pc else Flow.NEXT
            return Instruction(4, flow, push=size if op & 0x100 else -size)
        return Instruction(4, Flow.INDIRECT if loads_pc else Flow.NEXT)
    if op & 0xFFF0 == 0xE8D0 and second & 0xFFE0 == 0xF000:
        if base == PC:
            return Instruction(4, Flow.TABLE, width=2 if second & 0x10 else 1)
        return Instruction(4, Flow.INDIRECT)
    if base == SP and writeback:  # LDRD, STRD
        amount = 4 * (second & 0xFF)
        return Instruction(4, push=-amount if op & 0x80 else amount)
    return Instruction(4)


def _decode_vector(op: int, second: int) -> Instruction:
    """VPUSH, VPOP, and other floating-point and vector transfers."""
    if second & 0x1E00 == 0x0E00:  # Helium's that widen or narrow: r0 … r7; bit 3 is the size
        return Instruction(4)
    if op & 0xF != SP or not op & 0x20:
        return Instruction(4)
    amount = 4 * (second & 0xFF)
    if second & 0x0E00 == 0x0A00:
        if op & 0xFFBF == 0xED2D:
            return Instruction(4, push=amount)
        if op & 0xFFBF == 0xECBD:
            return Instruction(4, push=-amount)
    return Instruction(4, Flow.UNKNOWN_STACK)


def _decode_single(op: int, second: int) -> Instruction:
    """LDR and STR of one register."""
    base = op & 0xF
    loads_pc = op & 0xFF70 == 0xF850 and second >> 12 == PC
    indexed = not op & 0x80 and second & 0x800 and base != PC
    if base == SP and indexed and second & 0x100:  # with write-back
        amount = second & 0xFF
        flow = Flow.RETURN if loads_pc else Flow.NEXT
        return Instruction(4, flow, push=-amount if second & 0x200 else amount)
    return Instruction(4, Flow.INDIRECT if loads_pc else Flow.NEXT)
