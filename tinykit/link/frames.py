"""Frames: COBS stuffing, a header, a payload and a CRC-32, as firmware/src/protocol.h lays out."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from cobs import cobs

_HEADER = struct.Struct("<BBHI")
_CRC = struct.Struct("<I")
DELIMITER = b"\0"
LONGEST_PAYLOAD = 4096


@dataclass(frozen=True)
class Frame:
    """One frame, unstuffed and with a good CRC."""

    kind: int
    status: int
    sequence: int
    session: int
    payload: bytes

    def encode(self) -> bytes:
        """The bytes to send: a delimiter in front, so that noise before it ends there."""
        body = _HEADER.pack(self.kind, self.status, self.sequence, self.session) + self.payload
        return DELIMITER + bytes(cobs.encode(body + _CRC.pack(zlib.crc32(body)))) + DELIMITER


def decode(stuffed: bytes) -> Frame | None:
    """The frame between two delimiters, or None if it is damaged."""
    try:
        body = bytes(cobs.decode(stuffed))
    except cobs.DecodeError:
        return None
    if len(body) < _HEADER.size + _CRC.size:
        return None
    (crc,) = _CRC.unpack_from(body, len(body) - _CRC.size)
    body = body[: -_CRC.size]
    if zlib.crc32(body) != crc:
        return None
    kind, status, sequence, session = _HEADER.unpack_from(body)
    return Frame(kind, status, sequence, session, body[_HEADER.size :])


class FrameReader:
    """Turns received bytes into frames; what is damaged or endless is dropped and counted."""

    _longest = LONGEST_PAYLOAD + 64

    def __init__(self) -> None:
        self._pending = bytearray()
        self.dropped = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order."""
        self._pending += data
        *complete, rest = bytes(self._pending).split(DELIMITER)
        if len(rest) > self._longest:
            self.dropped += 1
            rest = b"\xff" * (self._longest + 1)  # still inside it: stays broken until a delimiter
        self._pending = bytearray(rest)
        frames = []
        for stuffed in complete:
            if not stuffed:
                continue
            frame = decode(stuffed) if len(stuffed) <= self._longest else None
            if frame is None:
                self.dropped += 1
            else:
                frames.append(frame)
        return frames
