"""Emulators that are programs of their own: started, watched, and never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from tinykit.errors import TargetError
from tinykit.targets.base import Target


class ProcessTarget(Target):
    """Keeps one child process, and what it prints for the case that it fails."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._folder = tempfile.TemporaryDirectory(prefix="tinykit-")
        self._output = Path(self._folder.name) / "output"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """For the emulator's files; removed at the end."""
        return Path(self._folder.name)

    def _start(
        self, command: list[str], *, inherit: tuple[int, ...] = (), stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        with self._output.open("wb") as output:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=stdin,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=inherit,
                    preexec_fn=_guard(),
                )
            except OSError as error:
                raise TargetError(f"cannot start {command[0]}: {error.strerror}") from error
        return self._process

    def printed(self) -> str:
        """What the process has printed so far, in one line."""
        with contextlib.suppress(OSError):
            return " ".join(self._output.read_text(errors="replace").split())[-400:]
        return ""

    def failure(self) -> str:
        if self._process is None or self._process.poll() is None:
            return ""
        return f"{self._name} ended with code {self._process.returncode}: {self.printed()}"

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            process.terminate()
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._folder.cleanup()


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_SET_PARENT_DEATH_SIGNAL = 1


def _die_with_parent() -> None:
    """Runs in the child before the emulator: the kernel ends it when this process ends."""
    if _LIBC is not None:
        _LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _guard() -> Callable[[], None] | None:
    """`_die_with_parent` in the main thread: the end of another would count as the parent's."""
    main = threading.current_thread() is threading.main_thread()
    return _die_with_parent if _LIBC is not None and main else None
