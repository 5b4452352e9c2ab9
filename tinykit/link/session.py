"""One session with a device: requests that are answered exactly once, or an error that says why."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from tinykit.errors import LinkError
from tinykit.link.frames import Frame, FrameReader
from tinykit.link.messages import (
    MODEL_STATUS_TEXT,
    PROTOCOL_VERSION,
    REPLY,
    STATUS_TEXT,
    Fault,
    Kind,
    Status,
)
from tinykit.link.port import Port


class Session:
    """Numbered requests over one port, one at a time, each sent again until it is answered.

    The session number is drawn anew each time, so that a reply which the device keeps from an
    earlier session is never taken for one of this. Parameters: see `Client`.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        retries: int,
        compute_timeout: float,
        baudrate: int,
        elf: Path | None,
    ) -> None:
        self.url = url
        self.timeout = timeout
        self.retries = retries
        self.compute_timeout = compute_timeout
        self._elf = elf
        self._reader = FrameReader()
        self._session = secrets.randbelow(2**32 - 1) + 1
        self._sequence = secrets.randbelow(2**16)
        self._heard = 0.0  # when the device said that it is working on the request; 0: it has not
        self._port = Port(url, baudrate)

    def close(self) -> None:
        """Closes the port."""
        self._port.close()

    def request(self, kind: Kind, payload: bytes = b"") -> bytes:
        """Sends a request until it is answered; its reply's payload.

        Raises LinkError when there is no answer, the device refuses, faults, or was restarted.
        """
        self._sequence = (self._sequence + 1) & 0xFFFF
        data = Frame(kind, 0, self._sequence, self._session, payload).encode()
        wait, lost, self._heard = self.timeout, 0, 0.0
        while True:
            self._port.write(data)
            reply = self._await(kind, wait)
            if reply is not None:
                return self._checked(kind, reply)
            if not self._heard:
                lost += 1
                if lost > self.retries:
                    raise LinkError(
                        f"no answer to {kind.name} from {self.url} within {lost} × {wait:g} s",
                        "is another program connected to it?"
                        if "://" in self.url
                        else "is tinykit's firmware on the board, the baud rate right, and no "
                        "other program connected? Try a reset.",
                    )
            elif time.monotonic() - self._heard > self.compute_timeout:
                raise LinkError(
                    f"{self.url} has been working on {kind.name} for {self.compute_timeout:g} s",
                    "allow a slow device more time (compute_timeout), or reset it",
                )
            else:  # its answer may be lost, or not made yet: ask less and less often
                wait *= 2

    def _await(self, kind: Kind, seconds: float) -> Frame | None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for frame in self._reader.feed(self._port.read(left)):
                if frame.kind == Kind.FAULT and frame.session in (0, self._session):
                    raise self._fault(frame)
                if frame.kind != kind | REPLY or frame.sequence != self._sequence:
                    continue  # an answer to a request that has been given up, or sent twice
                if frame.status != Status.WORKING:
                    return frame
                self._heard = self._heard or time.monotonic()
        return None

    def _checked(self, kind: Kind, frame: Frame) -> bytes:
        if frame.status == Status.OK:
            return frame.payload
        if frame.status == Status.PROTOCOL and len(frame.payload) == 2:
            theirs = int.from_bytes(frame.payload, "little")
            raise LinkError(
                f"the firmware on {self.url} speaks version {theirs} of the link, this tinykit "
                f"speaks {PROTOCOL_VERSION}",
                "build and flash the firmware with this version of tinykit",
            )
        if frame.status == Status.MODEL and len(frame.payload) >= 4:
            code = int.from_bytes(frame.payload[:4], "little")
            reason = MODEL_STATUS_TEXT.get(code, f"tk_status {code}")
        else:
            reason = f"status {frame.status}"
            if frame.status in Status._value2member_map_:
                reason = STATUS_TEXT.get(Status(frame.status), reason)
        raise LinkError(f"the device on {self.url} refused {kind.name}: {reason}")

    def _fault(self, frame: Frame) -> LinkError:
        fault = Fault.parse(frame.payload)
        where = ""
        if self._elf is not None:
            from tinykit.targets.symbols import nearest_symbol

            where = f" in {nearest_symbol(self._elf, fault.pc)}"
        return LinkError(f"the firmware on {self.url} faulted: {fault}{where}")
