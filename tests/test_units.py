"""Bytes as people write them."""

from __future__ import annotations

import pytest

from tinykit.errors import UsageError
from tinykit.units import format_size, parse_bytes


@pytest.mark.parametrize(
    ("text", "count"),
    [("262144", 262144), ("256KB", 262144), ("256 kb", 262144), ("0.5MB", 524288), ("1M", 1 << 20)],
)
def test_parsed(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "KB", "12 apples", "-1", "0", "0.3B", "1e3", "1GB"])
def test_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_bytes(text)


def test_formatted() -> None:
    assert [format_size(n) for n in (0, 1000, 262144, 1 << 20)] == [
        "0 B", "1,000 B", "256 KB", "1 MB",
    ]  # fmt: skip
