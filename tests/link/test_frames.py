"""Frames on the host's side, and that both sides agree on every number."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tests.devices.scratch import FIRMWARE
from tinykit.link import messages
from tinykit.link.frames import Frame, FrameReader

frames = st.builds(
    Frame,
    kind=st.integers(0, 255),
    status=st.integers(0, 255),
    sequence=st.integers(0, 2**16 - 1),
    session=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=600) | st.integers(0, 600).map(bytes),
)


@given(st.lists(frames), st.integers(1, 100))
def test_frames_survive_any_cutting_of_the_stream(sent: list[Frame], cut: int) -> None:
    stream = b"".join(frame.encode() for frame in sent)
    reader = FrameReader()
    got = [f for i in range(0, len(stream), cut) for f in reader.feed(stream[i : i + cut])]
    assert got == sent
    assert reader.dropped == 0


@given(frames, st.binary(max_size=300), st.binary(max_size=300))
def test_noise_costs_no_frame_but_its_own(frame: Frame, before: bytes, after: bytes) -> None:
    got = FrameReader().feed(before + frame.encode() + after)
    assert frame in got


@given(frames, st.data())
def test_a_damaged_frame_is_never_taken_for_another(frame: Frame, data: st.DataObject) -> None:
    stream = bytearray(frame.encode())
    at = data.draw(st.integers(1, len(stream) - 2))
    stream[at] ^= data.draw(st.integers(1, 255))
    assert FrameReader().feed(bytes(stream)) == []


def test_an_endless_frame_takes_no_endless_memory() -> None:
    reader = FrameReader()
    for _ in range(100):
        assert reader.feed(b"\x55" * 10_000) == []
    assert len(reader._pending) < 10_000
    good = Frame(1, 0, 2, 3, b"x")
    assert reader.feed(good.encode()) == [good]


def test_both_sides_number_everything_alike() -> None:
    text = (FIRMWARE / "src" / "protocol.h").read_text()
    theirs = {
        name: int(value, 0)
        for name, value in re.findall(r"TK_LINK_(\w+)(?: =)? (0x[0-9A-F]+|\d+)", text)
    }
    ours = {
        **{kind.name: int(kind) for kind in messages.Kind},
        **{status.name: int(status) for status in messages.Status},
        **{str(flag.name): int(flag) for flag in messages.HelloFlag},
        "REPLY": messages.REPLY,
        "VERSION": messages.PROTOCOL_VERSION,
        "INLINE_OUTPUT": messages.INLINE_OUTPUT,
    }
    assert ours == {name: theirs[name] for name in ours}
    unknown = set(theirs) - set(ours) - {"PAYLOAD", "HEADER", "CRC", "LONGEST_NAME"}
    assert not unknown
