"""The data memory of emulated kernels: tensors, tables and descriptors at fixed addresses.

Between the blocks lie bytes that belong to nobody: a kernel that writes there, or into a constant,
is found by comparing memory, and one that reads there by running twice with other bytes.
"""

from __future__ import annotations

import struct

import numpy as np

from tinykit.codegen.cstruct import POINTER_BYTES, struct_types
from tinykit.ops.base import Address, Call, Struct, Table

GAP = 16  # bytes between blocks, which nothing may touch
FORMATS = {
    "int8_t": "b", "uint8_t": "B", "int16_t": "h", "uint16_t": "H", "int32_t": "i",
    "uint32_t": "I", "float": "f",
}  # fmt: skip


class MemoryImage:
    """Grows by blocks from address `base` on, up to `size` bytes; `filler` lies between them."""

    def __init__(self, base: int, size: int, filler: int) -> None:
        self.base, self.size, self.filler = base, size, filler
        self.content = bytearray([filler]) * GAP
        self.writable: list[tuple[int, int]] = []  # offsets

    def place(self, data: bytes, writable: bool = False) -> int:
        """The address of a new block with this content, 4-aligned."""
        address = self.base + len(self.content)
        if writable:
            self.writable.append((len(self.content), len(self.content) + len(data)))
        self.content += data
        self.content += bytes([self.filler]) * (GAP + -len(self.content) % 4)
        assert len(self.content) < self.size
        return address

    def arguments(self, call: Call, places: dict[str, int]) -> list[int]:
        """The arguments of a call whose tensors lie at `places`; places what else it needs."""
        found = [self.struct(call.descriptor, places)] if call.descriptor else []
        for name in call.arguments:
            if name == "$scratch":
                found.append(self.place(b"\x55" * call.scratch, writable=True))
            else:
                found.append(places[name])
        return found

    def struct(self, value: Struct, places: dict[str, int]) -> int:
        """The address of a new descriptor."""
        content = b""
        for member in struct_types()[value.ctype].members:
            content += bytes(-len(content) % member.bytes)
            given = value.fields[member.name]
            if member.pointer:
                content += struct.pack("<I", self._pointer(given, places))
            else:
                assert isinstance(given, int | float)
                content += struct.pack("<" + FORMATS[member.ctype], given)
        assert POINTER_BYTES == 4
        return self.place(content)

    def _pointer(self, value: object, places: dict[str, int]) -> int:
        if isinstance(value, Struct):
            return self.struct(value, places)
        if isinstance(value, Table):
            return self.place(np.ascontiguousarray(value.values).tobytes())
        if isinstance(value, Address):
            return places[value.tensor]
        assert value is None
        return 0

    def take_over(self, after: bytes, who: str) -> None:
        """What `who` left behind; AssertionError if it changed anything that is not writable."""
        for begin, end in self.writable:
            self.content[begin:end] = after[begin:end]
        assert after == self.content, f"{who} writes outside its output and scratch memory"
