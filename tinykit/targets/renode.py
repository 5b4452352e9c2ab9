"""Renode: emulates whole boards, peripherals and cycle counter included."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tinykit.boards import Renode
from tinykit.errors import TargetError
from tinykit.targets.processes import ProcessTarget
from tinykit.targets.relay import Relay

INSTALL = "install Renode 1.16 and set RENODE to its executable (or use --target unicorn)"


def find_renode() -> str | None:
    """Renode's executable: $RENODE, else on PATH, else in PlatformIO's tool-renode package."""
    chosen = os.environ.get("RENODE")
    if chosen:
        return shutil.which(chosen)
    core = Path(os.environ.get("PLATFORMIO_CORE_DIR") or Path.home() / ".platformio")
    return shutil.which("renode") or shutil.which(str(core / "packages/tool-renode/renode"))


def script(elf: Path, platform: str, uart: str, port: int) -> str:
    """Renode's commands that make the machine, load `elf` and open its serial port; not `start`.

    `platform` is a file, or a name inside Renode's own platforms/.
    """
    return (
        "logLevel 3\n"  # errors only: a warning for each unmodelled register costs time
        'mach create "tinykit"\n'
        f"machine LoadPlatformDescription @{_escaped(platform)}\n"
        f'emulation CreateServerSocketTerminal {port} "term" false\n'
        f"connector Connect {uart} term\n"
        f"sysbus LoadELF @{_escaped(str(elf))}\n"
    )


def _escaped(path: str) -> str:
    return path.replace(" ", "\\ ")


class RenodeTarget(ProcessTarget):
    """Runs `elf` on a board that Renode describes.

    Renode's terminal serves one client ever, and bytes sent before it has one are lost: this end
    connects first, starts the machine then, and lends the connection to clients. `patience` is how
    long (seconds) Renode may take to start.
    """

    def __init__(self, elf: Path, renode: Renode, *, patience: float = 90.0) -> None:
        program = find_renode()
        if program is None:
            raise TargetError("Renode is not installed", INSTALL)
        super().__init__("Renode")
        self._relay: Relay | None = None
        try:
            port = _free_port()
            commands = self.folder / "tinykit.resc"
            commands.write_text(script(elf.absolute(), renode.platform, renode.uart, port))
            options = ("--disable-xwt", "--plain", "--port", "-1", "--console")
            process = self._start([program, *options, str(commands)], stdin=subprocess.PIPE)
            upstream = self._connected(port, patience)
            self._relay = Relay(upstream)
            time.sleep(0.3)  # Renode attaches the client a moment after accepting it
            assert process.stdin is not None
            process.stdin.write(b"start\n")
            process.stdin.flush()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        assert self._relay is not None
        return self._relay.url

    def _connected(self, port: int, patience: float) -> socket.socket:
        end = time.monotonic() + patience
        while True:
            if failure := self.failure():
                raise TargetError(failure)
            try:
                connection = socket.create_connection(("127.0.0.1", port), timeout=1)
            except OSError:
                if time.monotonic() > end:
                    raise TargetError(
                        f"Renode did not open its port within {patience:g} s: {self.printed()}"
                    ) from None
                time.sleep(0.1)
                continue
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection

    def close(self) -> None:
        if self._relay is not None:
            self._relay.close()
            self._relay = None
        super().close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
