"""A wire that loses, repeats, cuts and damages frames: what is done is done once, or not at all."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.devices.wire import Device, Wire
from tinykit.errors import LinkError
from tinykit.link import Client
from tinykit.link.frames import Frame, FrameReader, decode
from tinykit.link.messages import PROTOCOL_VERSION, Kind, Status

VERSION = struct.pack("<H", PROTOCOL_VERSION)
RANDOM = np.random.default_rng(8)
SAMPLES = RANDOM.integers(-128, 128, (6, 700), dtype=np.int8)
LABELS = RANDOM.integers(0, 10, 6)


def hurried(url: str) -> Client:
    return Client(url, timeout=0.04, retries=25)


@pytest.fixture(scope="module")
def device(programs: Callable[..., Path]) -> Iterator[Device]:
    it = Device(programs())
    yield it
    it.stop()


@pytest.fixture(scope="module")
def shared_wire(programs: Callable[..., Path]) -> Iterator[Wire]:
    with Wire(Device(programs())) as it:
        yield it


def first_only(kind: int, fate: Callable[[bytes], list[bytes]]) -> Callable[[bytes], list[bytes]]:
    """`fate` for the first frame of a kind, none for all others."""
    hit = []

    def apply(frame: bytes) -> list[bytes]:
        decoded = decode(frame[1:-1])
        if decoded is None or decoded.kind != kind or decoded.status == Status.WORKING or hit:
            return [frame]
        hit.append(True)
        return fate(frame)

    return apply


@pytest.mark.parametrize(
    "fate", [lambda f: [], lambda f: [f[:9]], lambda f: [f[:9] + b"\x55" + f[10:]]]
)
def test_a_lost_reply_never_trains_twice(wire: Wire, fate: Callable[[bytes], list[bytes]]) -> None:
    with hurried(wire.url) as client:
        wire.to_host = first_only(Kind.TRAIN | 0x80, fate)
        assert client.train(SAMPLES[0], 3).step == 1
        assert client.train(SAMPLES[1], 3).step == 2
        counters = client.counters()
    assert (counters.step, counters.repeated) == (2, 1)


def test_a_lost_reply_never_learns_twice(wire: Wire) -> None:
    with hurried(wire.url) as client:
        client.infer(SAMPLES[0])
        wire.to_host = first_only(Kind.LEARN | 0x80, lambda frame: [])
        assert client.learn(3).step == 1
        assert client.learn(3).step == 2
        assert client.counters().repeated == 1


def test_a_lost_request_is_sent_again(wire: Wire) -> None:
    with hurried(wire.url) as client:
        wire.to_device = first_only(Kind.TRAIN, lambda frame: [])
        assert client.train(SAMPLES[0], 3).step == 1
        assert client.counters().repeated == 0


def test_a_request_that_arrives_three_times_is_done_once(wire: Wire) -> None:
    with hurried(wire.url) as client:
        wire.to_device = first_only(Kind.TRAIN, lambda frame: [frame] * 3)
        wire.to_host = first_only(Kind.APPLY | 0x80, lambda frame: [frame] * 3)
        assert client.train(SAMPLES[0], 3).step == 1
        client.apply()
        assert client.train(SAMPLES[1], 3).step == 1002  # applied once: see scratch_model.c
        assert client.counters().repeated == 2


def test_a_request_cut_in_half_costs_only_itself(wire: Wire) -> None:
    with hurried(wire.url) as client:
        wire.to_device = first_only(Kind.TRAIN, lambda frame: [frame[: len(frame) // 2]])
        assert client.train(SAMPLES[0], 3).step == 1
        assert client.counters().dropped == 1


def test_a_new_session_never_gets_an_old_reply(wire: Wire) -> None:
    first = hurried(wire.url)
    wire.to_host = lambda frame: []
    first._session.retries = 1
    with pytest.raises(LinkError, match="no answer to RESET"):
        first.reset()
    first.close()
    wire.to_host = lambda frame: [frame]
    with hurried(wire.url) as second:
        # the numbers of the old session's requests come again
        second._session._sequence = first._session._sequence - 1
        assert second._session._session != first._session._session
        with pytest.raises(LinkError, match="refused COUNTERS: requests got out of order"):
            second.counters()
    with hurried(wire.url) as third:
        assert third.train(SAMPLES[0], 1).step == 1


def test_an_abandoned_session_can_not_act(device: Device) -> None:
    (hello,) = device.ask(Frame(Kind.HELLO, 0, 1, 100, VERSION).encode())
    (other,) = device.ask(Frame(Kind.HELLO, 0, 9, 200, VERSION).encode())
    assert (hello.session, other.session) == (100, 200)
    (reply,) = device.ask(Frame(Kind.APPLY, 0, 2, 100, b"").encode())
    assert (reply.status, reply.session) == (Status.SESSION, 200)


def test_sequence_numbers_wrap_around(wire: Wire) -> None:
    with hurried(wire.url) as client:
        (session,) = {client._session._session}
    with hurried(wire.url) as client:
        client._session._session = session + 1 or 1
        client._session._sequence = 0xFFFD
        client._greet(None)
        assert [client.counters().dropped for _ in range(5)] == [0] * 5
        assert client._session._sequence == 3


fates = st.sampled_from(["pass"] * 6 + ["lose", "twice", "cut", "damage", "noise", "late"])


def _plan(drawn: list[str], seeds: list[int]) -> Callable[[bytes], list[bytes]]:
    """The fate of frame after frame; frames beyond the plan arrive unharmed."""
    queue = list(zip(drawn, seeds, strict=False))
    held: list[bytes] = []

    def apply(frame: bytes) -> list[bytes]:
        fate, seed = queue.pop(0) if queue else ("pass", 0)
        at = 1 + seed % (len(frame) - 2)
        out = {
            "pass": [frame],
            "lose": [],
            "twice": [frame, frame],
            "cut": [frame[:at]],
            "damage": [frame[:at] + bytes([frame[at] ^ (1 + seed % 255)]) + frame[at + 1 :]],
            "noise": [seed.to_bytes(8, "big") * 3, frame],
            "late": [],
        }[fate]
        out += held
        held[:] = [frame] if fate == "late" else []
        return out

    return apply


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    forward=st.lists(fates, max_size=40),
    backward=st.lists(fates, max_size=40),
    seeds=st.lists(st.integers(0, 2**60), min_size=40, max_size=40),
)
def test_any_bad_wire_gives_the_results_of_a_good_one(
    shared_wire: Wire, forward: list[str], backward: list[str], seeds: list[int]
) -> None:
    def work(client: Client) -> tuple[object, ...]:
        client.reset()
        steps = client.train_all(SAMPLES[:3], LABELS[:3])
        client.apply()
        steps.append(client.train(SAMPLES[3], 4))
        saved = client.save()
        output = client.infer(SAMPLES[4]).tobytes()
        client.load(saved)
        return steps, saved, output, client.parameters()

    shared_wire.to_device = shared_wire.to_host = lambda frame: [frame]
    with hurried(shared_wire.url) as client:
        expected = work(client)
    with hurried(shared_wire.url) as client:
        shared_wire.to_device = _plan(forward, seeds)
        shared_wire.to_host = _plan(backward, seeds[::-1])
        assert work(client) == expected


SESSIONS = itertools.count(0x5A5A0000)
requests = st.builds(
    Frame,
    kind=st.sampled_from([int(kind) for kind in Kind]) | st.integers(0, 255),
    status=st.integers(0, 255),
    sequence=st.integers(0, 4),
    session=st.sampled_from([0, 1, 1, 1, 2]),
    payload=st.binary(max_size=16) | st.integers(0, 520).map(bytes),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(requests.map(Frame.encode) | st.binary(max_size=700), max_size=12))
def test_nothing_a_host_sends_breaks_the_device(device: Device, stream: list[bytes]) -> None:
    """The program runs under sanitizers; it must still greet a new session afterwards."""
    data = b"".join(stream)
    session = next(SESSIONS)
    hello = Frame(Kind.HELLO, 0, 1, session, VERSION)
    device.write(data + hello.encode())
    reader = FrameReader()
    for _ in range(200):
        for frame in reader.feed(device.read(1.0)):
            if frame.session == session and frame.kind == Kind.HELLO | 0x80:
                assert frame.status == Status.OK
                return
    raise AssertionError("the device does not answer any more")
