"""One connection to an emulator's port, lent to one client after the other."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class Relay:
    """Listens on a TCP port of its own (`url`) and carries bytes to and from `upstream`.

    For an emulator that serves a single client ever. What the emulator sends while nobody is
    connected is dropped.
    """

    def __init__(self, upstream: socket.socket) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake, self._waker = socket.socketpair()
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._carry, name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends both connections."""
        with contextlib.suppress(OSError):
            self._waker.send(b"x")
        self._thread.join(5)
        for end in (self._upstream, self._listener, self._wake, self._waker):
            end.close()

    def _carry(self) -> None:
        client: socket.socket | None = None
        try:
            while True:
                other = self._listener if client is None else client
                ready, _, _ = select.select([self._wake, self._upstream, other], [], [])
                if self._wake in ready:
                    return
                if self._upstream in ready:
                    data = self._upstream.recv(65536)
                    _acknowledge_at_once(self._upstream)
                    if not data:
                        return
                    if client is not None:
                        with contextlib.suppress(OSError):
                            client.sendall(data)
                if other not in ready:
                    continue
                if client is None:
                    client, _ = self._listener.accept()
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                elif data := _received(client):
                    self._upstream.sendall(data)
                else:
                    client.close()
                    client = None
        except OSError:
            return
        finally:
            if client is not None:
                client.close()


def _acknowledge_at_once(connection: socket.socket) -> None:
    """An emulator that sends byte by byte (Nagle's algorithm) waits for each acknowledgement, which
    Linux holds back for 40 ms unless told not to, again after each read."""
    option = getattr(socket, "TCP_QUICKACK", None)
    if option is not None and connection.family == socket.AF_INET:
        connection.setsockopt(socket.IPPROTO_TCP, option, 1)


def _received(client: socket.socket) -> bytes:
    try:
        return client.recv(65536)
    except OSError:
        return b""
