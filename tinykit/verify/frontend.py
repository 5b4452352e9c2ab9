"""The same recordings through the frontend on the device and on the host: inputs, bit by bit."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from tinykit.host import HostModel
from tinykit.ir import Array
from tinykit.link import Client
from tinykit.verify.result import Difference


def compare_inputs(
    client: Client, reference: HostModel, recordings: Sequence[Array]
) -> tuple[int, Difference | None]:
    """How many inputs both made, alike, of int16 recordings [samples] or [readings, axes], and the
    first that differs. Each recording begins anew."""
    form, made = reference.manifest.frontend, 0
    for number, recording in enumerate(recordings if form else ()):
        assert form is not None
        rest = recording.reshape(-1, form.axes)
        client.begin()
        reference.begin()
        while len(rest):
            taken, crc = client.push(rest)
            expected, x = reference.push(rest[:taken])
            ours = (taken, crc)
            theirs = (expected, None if x is None else zlib.crc32(x.tobytes()))
            if ours != theirs:
                return made, Difference(
                    f"input {made} (recording {number})",
                    "frontend's input (samples taken, checksum)",
                    _shown(*ours),
                    _shown(*theirs),
                )
            made += crc is not None
            rest = rest[taken:]
    return made, None


def _shown(taken: int, crc: int | None) -> str:
    return f"{taken}, " + ("not complete" if crc is None else f"0x{crc:08x}")
