"""A real board at a serial port."""

from __future__ import annotations

from serial.tools import list_ports

from tinykit.errors import TargetError
from tinykit.targets.base import Target


class SerialTarget(Target):
    """The port of a board that already runs the firmware; nothing is started or stopped.

    `port` is a device name or any pyserial URL. None: the only port there is.
    """

    def __init__(self, port: str | None) -> None:
        self._url = port if port is not None else _only_port()

    @property
    def url(self) -> str:
        return self._url

    def close(self) -> None:
        """Nothing to do: the client closes the port."""


def _only_port() -> str:
    ports = sorted(list_ports.comports(), key=lambda port: str(port.device))
    if len(ports) == 1:
        return str(ports[0].device)
    if not ports:
        raise TargetError("this machine has no serial port", "is the board plugged in?")
    names = ", ".join(f"{port.device} ({port.description})" for port in ports)
    raise TargetError(f"this machine has {len(ports)} serial ports: {names}", "choose with --port")
