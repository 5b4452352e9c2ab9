"""The default target: the firmware inside this process, its serial port on a local TCP port.

Needs nothing but pip. The core runs while there is something to do and stops at WFI, so an idle
firmware costs nothing.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from pathlib import Path

from tinykit.errors import TargetError
from tinykit.link.frames import Frame
from tinykit.link.messages import Fault, Kind
from tinykit.targets.base import Target
from tinykit.targets.unicorn_core import Core, CoreSpec


class UnicornTarget(Target):
    """Runs `elf` on a core of its own. One client at a time; others wait for their turn."""

    def __init__(self, elf: Path, spec: CoreSpec, *, count_instructions: bool = False) -> None:
        self._sent = bytearray()
        self._client: socket.socket | None = None
        self._error = ""
        self._core = Core(elf, spec, self._send, count=count_instructions)
        self._wake, self._waker = socket.socketpair()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = True
        self._thread = threading.Thread(target=self._serve, name="unicorn", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return self._url

    def failure(self) -> str:
        return self._error

    def instructions(self) -> list[int]:
        return list(self._core.marks)

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(OSError):
            self._waker.send(b"x")
        for _ in range(50):  # a stop is lost if it comes just before the core starts
            self._core.stop()
            self._thread.join(0.1)
            if not self._thread.is_alive():
                break
        if self._client is not None:
            self._client.close()
        for end in (self._listener, self._wake, self._waker):
            end.close()
        if self._thread.is_alive():
            raise TargetError("the emulated core does not stop")

    # ---- the thread ----

    def _serve(self) -> None:
        try:
            while self._open:
                self._core.run()
                self._flush()
                if self._core.fault is not None:
                    self._report()
                    return
                if self._open:
                    self._wait()
        except Exception as error:
            self._error = f"the emulator failed: {error}"
        finally:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _report(self) -> None:
        """Says on the wire what a real board's fault handler would say."""
        fault = self._core.fault
        assert fault is not None
        self._error = fault.text
        payload = Fault(fault.exception, fault.pc, fault.cfsr).pack()
        self._sent += Frame(Kind.FAULT, 0, 0, 0, payload).encode()
        self._flush()

    def _wait(self) -> None:
        """Until there are bytes for the firmware, or the target is closed."""
        ends = [self._wake, self._listener if self._client is None else self._client]
        ready, _, _ = select.select(ends, [], [])
        if self._listener in ready:
            self._client, _ = self._listener.accept()
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        elif self._client in ready and self._client is not None:
            try:
                data = self._client.recv(65536)
            except OSError:
                data = b""
            if data:
                self._core.feed(data)
            else:
                self._client.close()
                self._client = None

    def _send(self, byte: int) -> None:
        self._sent.append(byte)
        if byte == 0 and len(self._sent) > 1:  # a frame ends here, and the model may run next
            self._flush()

    def _flush(self) -> None:
        if self._sent and self._client is not None:
            with contextlib.suppress(OSError):
                self._client.sendall(self._sent)
        self._sent.clear()
