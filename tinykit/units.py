"""Bytes as people write them. KB means 1024 bytes, as on every data sheet of a microcontroller."""

from __future__ import annotations

import re

from tinykit.errors import UsageError

_UNITS = {"": 1, "b": 1, "k": 1024, "kb": 1024, "kib": 1024, "m": 1 << 20, "mb": 1 << 20}
_UNITS["mib"] = 1 << 20


def parse_bytes(text: str) -> int:
    """Bytes from "262144", "256KB" or "1 MB". Raises UsageError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not found or found.group(2).lower() not in _UNITS:
        raise UsageError(f"`{text}` is not a number of bytes", "write 262144, 256KB or 1MB")
    value = float(found.group(1)) * _UNITS[found.group(2).lower()]
    if value != int(value) or value <= 0:
        raise UsageError(f"`{text}` is not a whole, positive number of bytes")
    return int(value)


def format_bytes(count: int) -> str:
    """12,345 B; the KB beside it are left to the reader, since budgets are compared in bytes."""
    return f"{count:,} B"


def format_size(count: int) -> str:
    """256 KB or 1 MB where that is exact, bytes otherwise."""
    for unit, name in ((1 << 20, "MB"), (1 << 10, "KB")):
        if count and count % unit == 0:
            return f"{count // unit} {name}"
    return format_bytes(count)
