"""A Cortex-M core with memory and a UART, emulated by Unicorn: runs until the firmware sleeps."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import unicorn
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from unicorn import arm_const

from tinykit.errors import TargetError
from tinykit.targets.symbols import nearest_symbol, read_symbols

_MODELS = {
    "m0": arm_const.UC_CPU_ARM_CORTEX_M0,
    "m3": arm_const.UC_CPU_ARM_CORTEX_M3,
    "m4": arm_const.UC_CPU_ARM_CORTEX_M4,
    "m7": arm_const.UC_CPU_ARM_CORTEX_M7,
    "m33": arm_const.UC_CPU_ARM_CORTEX_M33,
}
_PAGE = 0x1000
_SYSTEM_CONTROL = 0xE000E000
_AIRCR = 0xD0C
_RESET_REQUEST = 0x05FA0004
_PERIPHERALS = ((0x40000000, 0x60000000), (0xE0000000, 0xE0100000))


@dataclass(frozen=True)
class UartRegisters:
    """Offsets of a UART's registers and the status bits that say "received" and "may send"."""

    status: int
    receive: int
    transmit: int
    received: int
    ready: int


UARTS = {
    "cmsdk": UartRegisters(status=4, receive=0, transmit=0, received=2, ready=0),
    "stm32v1": UartRegisters(status=0, receive=4, transmit=4, received=0x20, ready=0xC0),
    "stm32v2": UartRegisters(status=0x1C, receive=0x24, transmit=0x28, received=0x20, ready=0xC0),
}


@dataclass(frozen=True)
class CoreSpec:
    """What is emulated: addresses and sizes in bytes, a key of UARTS, a key of Unicorn's cores."""

    model: str
    flash: tuple[int, int]
    sram: tuple[int, int]
    uart: str
    uart_base: int


@dataclass(frozen=True)
class CoreFault:
    """Why execution stopped for good."""

    pc: int
    exception: int
    cfsr: int
    text: str


class Core:
    """Loads an ELF file and runs it. Peripherals without a model keep what is written to them.

    `send` is called with each byte that the firmware sends. With `count`, every instruction is
    counted, and `marks` gets the count between tk_marker_begin and tk_marker_end each time.
    """

    def __init__(
        self, elf: Path, spec: CoreSpec, send: Callable[[int], None], *, count: bool = False
    ) -> None:
        self.marks: list[int] = []
        self.fault: CoreFault | None = None
        self._elf = elf
        self._send = send
        self._spec = spec
        self._received = bytearray()
        self._taken = 0
        self._uart = UARTS[spec.uart]
        self._system = bytearray(_PAGE)
        self._restart = False
        self._stopped = False
        self._bad_address: tuple[int, int] | None = None
        self._executed = 0
        self._began = 0
        self._segments = _load_segments(elf)
        self._machine = unicorn.Uc(
            unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
        )
        self._machine.ctl_set_cpu_model(_MODELS[spec.model])
        self._map_memory()
        if count:
            self._count_instructions()
        self._reset()

    # ---- the machine ----

    def _map_memory(self) -> None:
        machine, spec = self._machine, self._spec
        read_execute = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
        machine.mem_map(spec.flash[0], _pages(spec.flash[1]), read_execute)
        machine.mem_map(spec.sram[0], _pages(spec.sram[1]))
        page = spec.uart_base & ~(_PAGE - 1)
        self._uart_offset = spec.uart_base - page
        machine.mmio_map(page, _PAGE, self._read_uart, None, self._write_uart, None)
        machine.mmio_map(_SYSTEM_CONTROL, _PAGE, self._read_system, None, self._write_system, None)
        machine.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._invalid)

    def _reset(self) -> None:
        for address, data in self._segments:
            try:
                self._machine.mem_write(address, data)
            except unicorn.UcError as error:
                raise TargetError(
                    f"{self._elf} does not belong on this board: it has {len(data)} bytes at "
                    f"0x{address:08x}, where the board has no memory"
                ) from error
        stack, self._pc = struct.unpack("<II", self._machine.mem_read(self._spec.flash[0], 8))
        self._machine.reg_write(arm_const.UC_ARM_REG_SP, stack)

    def feed(self, data: bytes) -> None:
        """Bytes for the firmware's UART."""
        self._received += data

    def stop(self) -> None:
        """Ends `run` for good; may be called from another thread, again and again until it ends."""
        self._stopped = True
        self._machine.emu_stop()

    def run(self) -> None:
        """Executes until the firmware sleeps (WFI) with nothing received left, or faults."""
        while self.fault is None and not self._stopped:
            try:
                self._machine.emu_start(self._pc | 1, 0xFFFFFFFE)
            except unicorn.UcError as error:
                self.fault = self._describe(error)
                return
            self._pc = self._machine.reg_read(arm_const.UC_ARM_REG_PC)
            if self._restart:
                self._restart = False
                self._reset()
            elif not self._received:
                return

    def _describe(self, error: unicorn.UcError) -> CoreFault:
        pc = self._machine.reg_read(arm_const.UC_ARM_REG_PC)
        exception, cfsr, what = 6, 1 << 16, "executed what is no instruction of this core"
        if self._bad_address is not None:
            access, address = self._bad_address
            verb, cfsr = {
                unicorn.UC_MEM_WRITE_UNMAPPED: ("wrote to", 1 << 9),
                unicorn.UC_MEM_WRITE_PROT: ("wrote to", 1 << 9),
                unicorn.UC_MEM_FETCH_UNMAPPED: ("jumped to", 1 << 8),
                unicorn.UC_MEM_FETCH_PROT: ("jumped to", 1 << 8),
            }.get(access, ("read from", 1 << 9))
            place = "flash" if access == unicorn.UC_MEM_WRITE_PROT else "where there is no memory"
            exception, what = 5, f"{verb} 0x{address:08x}, {place}"
        elif error.errno not in (unicorn.UC_ERR_INSN_INVALID, unicorn.UC_ERR_EXCEPTION):
            what = f"stopped: {error}"
        where = nearest_symbol(self._elf, pc)
        return CoreFault(pc, exception, cfsr, f"the firmware {what} at 0x{pc:08x} in {where}")

    # ---- what the firmware reads and writes ----

    def _invalid(
        self, machine: unicorn.Uc, access: int, address: int, size: int, value: int, _: object
    ) -> bool:
        data = access in (unicorn.UC_MEM_READ_UNMAPPED, unicorn.UC_MEM_WRITE_UNMAPPED)
        if data and any(start <= address < end for start, end in _PERIPHERALS):
            machine.mem_map(address & ~(_PAGE - 1), _PAGE)
            return True
        self._bad_address = (access, address)
        return False

    def _read_uart(self, machine: unicorn.Uc, offset: int, size: int, _: object) -> int:
        offset -= self._uart_offset
        uart = self._uart
        if offset == uart.status:
            return uart.ready | (uart.received if self._received else 0)
        if offset == uart.receive and self._received:
            byte = self._received[self._taken]
            self._taken += 1
            if self._taken == len(self._received):
                self._received.clear()
                self._taken = 0
            return byte
        return 0

    def _write_uart(
        self, machine: unicorn.Uc, offset: int, size: int, value: int, _: object
    ) -> None:
        if offset - self._uart_offset == self._uart.transmit:
            self._send(value & 0xFF)

    def _read_system(self, machine: unicorn.Uc, offset: int, size: int, _: object) -> int:
        return int.from_bytes(self._system[offset : offset + size], "little")

    def _write_system(
        self, machine: unicorn.Uc, offset: int, size: int, value: int, _: object
    ) -> None:
        if offset == _AIRCR and value == _RESET_REQUEST:
            self._restart = True
            machine.emu_stop()
            return
        self._system[offset : offset + size] = value.to_bytes(size, "little")

    # ---- counting ----

    def _count_instructions(self) -> None:
        symbols = read_symbols(self._elf)
        for name in ("tk_marker_begin", "tk_marker_end"):
            if name not in symbols:
                raise TargetError(
                    f"{self._elf} has no {name}: its instructions cannot be counted",
                    "build the firmware with this version of tinykit",
                )
        lengths: dict[tuple[int, int], int] = {}

        def block(machine: unicorn.Uc, address: int, size: int, _: object) -> None:
            count = lengths.get((address, size))
            if count is None:
                count = count_thumb(bytes(machine.mem_read(address, size)))
                lengths[address, size] = count
            self._executed += count

        def begin(*_: object) -> None:
            self._began = self._executed

        def end(*_: object) -> None:
            self.marks.append(self._executed - self._began)

        self._machine.hook_add(unicorn.UC_HOOK_BLOCK, block)
        for name, hook in (("tk_marker_begin", begin), ("tk_marker_end", end)):
            address = symbols[name][0]
            self._machine.hook_add(unicorn.UC_HOOK_CODE, hook, None, address, address)


def count_thumb(code: bytes) -> int:
    """Instructions in a block of Thumb code: 0b11101, 0b11110 and 0b11111 open 32-bit ones."""
    count = at = 0
    while at < len(code):
        at += 4 if code[at + 1] >> 3 in (0x1D, 0x1E, 0x1F) else 2
        count += 1
    return count


def _pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def _load_segments(elf: Path) -> list[tuple[int, bytes]]:
    try:
        with elf.open("rb") as file:
            image = ELFFile(file)
            if image["e_machine"] != "EM_ARM":
                raise TargetError(f"{elf} is not firmware for an Arm core: {image['e_machine']}")
            return [
                (segment["p_paddr"], segment.data())
                for segment in image.iter_segments("PT_LOAD")
                if segment["p_filesz"]
            ]
    except (OSError, ELFError) as error:
        raise TargetError(f"cannot read {elf} as an ELF file: {error}") from error
