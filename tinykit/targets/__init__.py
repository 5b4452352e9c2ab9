"""Where firmware runs: a real board or an emulator. To everything else, a pyserial URL."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tinykit.boards import Board
from tinykit.errors import TargetError, UsageError
from tinykit.targets.base import Target

__all__ = ["TARGETS", "Target", "default_target", "open_target", "serve"]

TARGETS = ("unicorn", "qemu", "renode", "serial")


def default_target(board: Board) -> str:
    """QEMU where it is installed and has the board's machine, else Unicorn."""
    from tinykit.targets.qemu import qemu_installed

    return "qemu" if board.qemu and qemu_installed() else "unicorn"


def open_target(
    name: str | None,
    *,
    elf: Path | None = None,
    board: Board | None = None,
    port: str | None = None,
    count_instructions: bool = False,
) -> Target:
    """Starts firmware `elf` for `board` on an emulator, or finds the board at `port` ("serial").

    `name` is one of TARGETS; None: the default for the board. Raises TargetError when the target
    is not installed, does not know the board, or does not start; UsageError for a wrong request.
    """
    if name is None and board is not None:
        name = "serial" if port else default_target(board)
    if name not in TARGETS:
        raise UsageError(f"there is no target '{name}'", f"targets: {', '.join(TARGETS)}")
    if name == "serial":
        if count_instructions:
            raise UsageError("a real board counts cycles, not instructions", "use qemu or unicorn")
        from tinykit.targets.serial_port import SerialTarget

        return SerialTarget(port)
    if elf is None or board is None:
        raise UsageError(f"target {name} needs firmware (an ELF file) and a board")
    if not elf.is_file():
        raise UsageError(f"there is no firmware at {elf}", "run `tinykit build` first")
    return _emulator(name, elf, board, count_instructions)


def _emulator(name: str, elf: Path, board: Board, count_instructions: bool) -> Target:
    if name == "qemu":
        from tinykit.targets.qemu import QemuTarget

        if board.qemu is None:
            raise TargetError(f"QEMU has no machine for board {board.name}", _others(board))
        return QemuTarget(elf, board.qemu, count_instructions=count_instructions)
    if name == "renode":
        from tinykit.targets.renode import RenodeTarget

        if board.renode is None:
            raise TargetError(f"board {board.name} has no Renode platform", _others(board))
        if count_instructions:
            raise UsageError("Renode is not used for counting", "use qemu or unicorn")
        return RenodeTarget(elf, board.renode)
    from tinykit.targets.unicorn import UnicornTarget
    from tinykit.targets.unicorn_core import CoreSpec

    if board.unicorn is None:
        raise TargetError(f"Unicorn has no core like board {board.name}'s", _others(board))
    spec = CoreSpec(
        model=board.unicorn,
        flash=(board.flash_origin, board.flash),
        sram=(board.sram_origin, board.sram),
        uart=board.uart.type,
        uart_base=board.uart.base,
    )
    return UnicornTarget(elf, spec, count_instructions=count_instructions)


def _others(board: Board) -> str:
    known = {"qemu": board.qemu, "unicorn": board.unicorn, "renode": board.renode}
    fitting = [name for name, value in known.items() if value]
    return f"this board runs on: {', '.join([*fitting, 'serial'])}"


def serve(target: Target, announce: Callable[[str], None] | None = None) -> None:
    """Keeps an open target alive until Ctrl-C. `announce` gets its URL once it is ready.

    Raises TargetError when the target dies.
    """
    with target:
        if announce is not None:
            announce(target.url)
        try:
            while not (failure := target.failure()):
                time.sleep(0.2)
        except KeyboardInterrupt:
            return
        raise TargetError(failure)
