"""A device program of this machine behind a TCP port, and a wire that loses and damages frames."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from tinykit.link.frames import Frame, FrameReader

Fate = Callable[[bytes], list[bytes]]
"""What becomes of a frame on the wire: the frames that arrive instead."""


def unharmed(frame: bytes) -> list[bytes]:
    return [frame]


class Device:
    """The program's standard input and output as a serial line. `restart` is the reset button."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._restarting = False
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self._program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def restart(self) -> None:
        self._restarting = True
        self.stop()
        self.process = self._start()
        self._restarting = False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) :]

    def read(self, seconds: float) -> bytes:
        """What the device sent; b"" after `seconds`. Fails if a sanitizer has stopped it."""
        process = self.process
        out = process.stdout
        assert out is not None
        if not select.select([out], [], [], seconds)[0]:
            return b""
        data = out.read(65536)
        assert data or self._restarting or process is not self.process, (
            f"the device died with exit code {self.process.wait()}"
        )
        return data

    def ask(self, data: bytes, *, answers: int = 1, seconds: float = 5.0) -> list[Frame]:
        """The first `answers` frames after sending `data` (fewer if they do not come)."""
        self.write(data)
        reader, frames = FrameReader(), []
        while len(frames) < answers:
            received = self.read(seconds)
            if not received:
                break
            frames += reader.feed(received)
        return frames


class Wire:
    """A TCP port (`url`) that carries frames to and from a device, one connection at a time."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.to_device: Fate = unharmed
        self.to_host: Fate = unharmed
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()
        self.device.stop()

    def unplug(self) -> None:
        self._open = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while self._open:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, contextlib.suppress(OSError, AssertionError):
                self._carry(connection)

    def _carry(self, connection: socket.socket) -> None:
        pending = {"host": b"", "device": b""}
        while self._open:
            out = self.device.process.stdout
            ready, _, _ = select.select([connection, out], [], [], 0.02)
            if connection in ready:
                data = connection.recv(65536)
                if not data:
                    return
                for frame in self._frames(pending, "device", data):
                    for arrived in self.to_device(frame):
                        self.device.write(arrived)
            if out in ready:
                for frame in self._frames(pending, "host", self.device.read(0)):
                    for arrived in self.to_host(frame):
                        connection.sendall(arrived)

    @staticmethod
    def _frames(pending: dict[str, bytes], where: str, data: bytes) -> list[bytes]:
        *whole, pending[where] = (pending[where] + data).split(b"\0")
        return [b"\0" + frame + b"\0" for frame in whole if frame]
