"""QEMU's system emulator: the fast target, and the one with a cycle-free instruction count."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tinykit.errors import TargetError
from tinykit.targets.base import Target
from tinykit.targets.processes import ProcessTarget
from tinykit.targets.symbols import read_symbols

PROGRAM = "qemu-system-arm"
INSTALL = "apt-get install qemu-system-arm (or use --target unicorn)"


def qemu_installed() -> bool:
    """Whether QEMU's Arm emulator is on PATH."""
    return shutil.which(PROGRAM) is not None


class QemuTarget(ProcessTarget, Target):
    """Runs `elf` on a QEMU machine. The machine starts when the first client connects: no byte of
    its output is lost; later clients find it as the last one left it. `options` are passed on to
    QEMU."""

    def __init__(
        self,
        elf: Path,
        machine: str,
        *,
        count_instructions: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        if not qemu_installed():
            raise TargetError(f"{PROGRAM} is not installed", INSTALL)
        super().__init__("QEMU")
        try:
            extra = [*options, *(self._counter(elf) if count_instructions else ())]
            # QEMU gets the listening socket itself: no other program can take the port in between
            with socket.create_server(("127.0.0.1", 0)) as listener:
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._url = f"socket://127.0.0.1:{listener.getsockname()[1]}"
                descriptor = listener.fileno()
                self._start(
                    [
                        *(PROGRAM, "-M", machine, "-nographic", "-monitor", "none"),
                        *("-chardev", f"socket,id=link,fd={descriptor},server=on,wait=on"),
                        *("-serial", "chardev:link", "-kernel", str(elf), *extra),
                    ],
                    inherit=(descriptor,),
                )
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return self._url

    # ---- counting ----

    @property
    def _counts(self) -> Path:
        return self.folder / "counts"

    def _counter(self, elf: Path) -> list[str]:
        """Options that load the counting plugin, built for this QEMU."""
        begin, end = counted_addresses(elf)
        plugin = build_plugin(Path(__file__).with_name("qemu_counter.c"), self.folder)
        return ["-plugin", f"{plugin},begin=0x{begin:x},end=0x{end:x},out={self._counts}"]

    def instructions(self) -> list[int]:
        with contextlib.suppress(OSError):
            lines = self._counts.read_text().splitlines()
            return [int(line) for line in lines if line.isdigit()]
        return []


def counted_addresses(elf: Path) -> tuple[int, int]:
    """Where counting begins and ends: before an inference or training step, and after it.

    Raises TargetError for firmware without these places.
    """
    symbols = read_symbols(elf)
    try:
        begin, end = (symbols[name][0] for name in ("tk_marker_begin", "tk_marker_end"))
    except KeyError as error:
        raise TargetError(
            f"{elf} has no {error.args[0]}: its instructions cannot be counted",
            "build the firmware with this version of tinykit",
        ) from None
    return begin, end


def build_plugin(source: Path, folder: Path) -> Path:
    """A plugin of one C file (it includes qemu_plugin.h), built for the installed QEMU.

    Raises TargetError without a host compiler.
    """
    plugin = folder / f"{source.stem}.so"
    api = ["-DAPI=4"] if qemu_version() >= (9, 0) else []
    include = f"-I{Path(__file__).parent}"
    build = ["gcc", "-shared", "-fPIC", "-O2", *api, include, "-o", str(plugin), str(source)]
    try:
        made = subprocess.run(build, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise TargetError(
            "counting instructions in QEMU needs gcc", "apt-get install gcc"
        ) from None
    if made.returncode:
        raise TargetError(f"QEMU's counting plugin does not build: {made.stderr.strip()[:300]}")
    return plugin


def qemu_version() -> tuple[int, int]:
    """Major and minor version of the installed QEMU; (0, 0) if it does not say."""
    with contextlib.suppress(OSError):
        said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False)
        found = re.search(r"version (\d+)\.(\d+)", said.stdout)
        if found:
            return int(found[1]), int(found[2])
    return 0, 0
