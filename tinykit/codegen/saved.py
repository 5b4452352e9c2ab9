"""What `<name>_save` writes (firmware/lib/tinykit/src/trainer.c), read on the host."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from tinykit.errors import UsageError

MAGIC = b"TKP2"
HEADER = struct.Struct("<4s6I16s")
CRC = struct.Struct("<I")


@dataclass(frozen=True)
class Saved:
    """identity: of the generated code; classes: in use, of a head that grows; headroom: bits that
    gradients have beyond the calibrated ones; block: the parameters, as they lie in SRAM."""

    identity: str
    classes: int
    headroom: int
    block: bytes

    @classmethod
    def parse(cls, data: bytes, where: str) -> Saved:
        """Raises UsageError, naming `where` it comes from, when it is not whole."""
        if len(data) < HEADER.size + CRC.size or data[: len(MAGIC)] != MAGIC:
            raise UsageError(
                f"{where}: is nothing that firmware saved", "`tinykit train --save FILE` keeps it"
            )
        _, _, counts, begun, _, _, size, identity = HEADER.unpack_from(data)
        body, crc = data[: -CRC.size], CRC.unpack(data[-CRC.size :])[0]
        if len(body) != HEADER.size + size or zlib.crc32(body) != crc:
            raise UsageError(f"{where}: is damaged: length or checksum is wrong")
        return cls(identity.hex(), counts >> 16, begun >> 16 & 15, body[HEADER.size :])
