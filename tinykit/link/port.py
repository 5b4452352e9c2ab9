"""A serial port, opened by pyserial URL, that hands out whatever bytes are there."""

from __future__ import annotations

import contextlib
import select
import time

import serial
from serial.tools import list_ports

from tinykit.errors import LinkError


def _advice(url: str) -> str:
    if "://" in url:
        return "is the emulator still running?"
    ports = ", ".join(sorted(port.device for port in list_ports.comports()))
    return f"serial ports here: {ports}" if ports else "no serial port found: plugged in?"


class Port:
    """Raw bytes over anything pyserial opens; every failure is a LinkError naming the port.

    `patience` is how long (seconds) a refused socket:// connection is tried again: an emulator may
    still be starting.
    """

    def __init__(self, url: str, baudrate: int = 115200, patience: float = 5.0) -> None:
        self.url = url
        end = time.monotonic() + (patience if url.startswith("socket://") else 0)
        alone = None if "://" in url else True  # two programs at one port garble each other
        while True:
            try:
                self._serial = serial.serial_for_url(
                    url, baudrate=baudrate, timeout=0, exclusive=alone
                )
                break
            except (OSError, ValueError) as error:  # SerialException is an OSError
                if time.monotonic() >= end:
                    reason = str(error).splitlines()[0]
                    raise LinkError(f"cannot open {url}: {reason}", _advice(url)) from error
                time.sleep(0.02)
        try:
            self._descriptor: int | None = self._serial.fileno()
        except (AttributeError, OSError):
            self._descriptor = None  # Windows COM ports, loop:// and rfc2217:// cannot be waited on
            self._serial.timeout = 0.05

    def write(self, data: bytes) -> None:
        """Sends all of `data`."""
        try:
            self._serial.write(data)
        except (OSError, ValueError) as error:
            raise self._gone(error) from error

    def read(self, seconds: float) -> bytes:
        """What has arrived, as soon as anything has; b"" after `seconds`."""
        try:
            if self._descriptor is not None:
                ready, _, _ = select.select([self._descriptor], [], [], max(0.0, seconds))
                return bytes(self._serial.read(4096)) if ready else b""
            end = time.monotonic() + seconds
            while True:
                data = bytes(self._serial.read(max(1, self._serial.in_waiting)))
                if data or time.monotonic() >= end:
                    return data
        except (OSError, ValueError, TypeError) as error:
            raise self._gone(error) from error

    def close(self) -> None:
        """Closes the port; a port that has vanished is no error."""
        with contextlib.suppress(OSError):
            self._serial.close()

    def _gone(self, error: Exception) -> LinkError:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return LinkError(f"the port {self.url} has gone: {reason}", _advice(self.url))
