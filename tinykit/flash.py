"""Putting firmware on a real board: through a debug probe (pyOCD), or its USB drive.

Boards with an ST-LINK/V2-1 or a DAPLink show up as a drive; copying a .bin there programs them.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from tinykit.errors import TargetError, UsageError

if TYPE_CHECKING:
    from tinykit.boards import Board

TIMEOUT = 180  # seconds; the slowest board takes about 30 for a megabyte
MAX_IMAGE = 64 << 20


def flash_with_probe(elf: Path, board: Board, probe: str | None = None) -> str:
    """Program `elf` with pyOCD; what was done, in one line.

    `probe` is the beginning of a probe's serial number, for when several are connected. Raises
    UsageError for a board that is only emulated, TargetError when pyOCD isn't there or fails.
    """
    if board.pyocd is None:
        raise UsageError(
            f"board {board.name} exists only in emulators: there is nothing to flash",
            "`tinykit run` starts its firmware",
        )
    if importlib.util.find_spec("pyocd") is None:
        raise TargetError(
            "flashing through a debug probe needs pyOCD, which is not installed",
            "pip install 'tinykit-mcu[flash]', or --drive FOLDER for boards that are a USB drive",
        )
    command = [sys.executable, "-m", "pyocd", "load", "--no-wait", "--target", board.pyocd]
    command += ["--uid", probe] if probe else []
    try:
        done = subprocess.run(
            [*command, str(elf)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise TargetError(
            f"pyOCD did not finish within {TIMEOUT} s", "unplug and replug the board, try again"
        ) from None
    if done.returncode:
        raise TargetError(*_explained(done.stderr + done.stdout, board.pyocd))
    return f"{elf} is on {board.name} (pyOCD, target {board.pyocd})"


def flash_to_drive(elf: Path, drive: Path) -> str:
    """Copy the ELF's image as firmware.bin to a board's USB drive; what was done, in one line."""
    if not drive.is_dir():
        raise UsageError(f"{drive} is not a folder", "connect the board and mount its drive")
    image = binary_image(elf)
    try:
        (drive / "firmware.bin").write_bytes(image)
    except OSError as error:
        raise TargetError(f"{drive}: {error.strerror}") from error
    return f"{elf} is on {drive} ({len(image):,} B)"


def binary_image(elf: Path) -> bytes:
    """What lies in flash, from the lowest load address to the highest; gaps are 0xFF (erased)."""
    try:
        with elf.open("rb") as file:
            segments = [
                (int(segment["p_paddr"]), bytes(segment.data()))
                for segment in ELFFile(file).iter_segments("PT_LOAD")
                if segment["p_filesz"]
            ]
    except FileNotFoundError:
        raise UsageError(f"{elf}: no such file", "run `tinykit build` first") from None
    except (OSError, ELFError) as error:
        raise UsageError(f"{elf}: is not firmware in ELF form: {error}") from error
    if not segments:
        raise UsageError(f"{elf}: holds nothing to flash")
    start = min(address for address, _ in segments)
    size = max(address + len(data) for address, data in segments) - start
    if size > MAX_IMAGE:
        raise UsageError(f"{elf}: spreads over {size:,} B of addresses; is this firmware?")
    image = bytearray(b"\xff" * size)
    for address, data in segments:
        image[address - start : address - start + len(data)] = data
    return bytes(image)


def _explained(output: str, target: str) -> tuple[str, str]:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    text = output.lower()
    if "no available debug probes" in text or "no connected debug probes" in text:
        return "no debug probe is connected", "connect the board by USB; `pyocd list` shows probes"
    if "target type" in text and "not recognized" in text:
        return (
            f"pyOCD does not know {target} yet",
            f"pyocd pack install {target}   (once, needs the network)",
        )
    last = lines[-1] if lines else "no message"
    return f"pyOCD failed: {last}", "run `pyocd list` to see whether the probe is found"
