"""The C end of the link, run on this machine under sanitizers, against the Python end."""

from __future__ import annotations

import os
import select
import struct
import threading
import tty
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.devices.scratch import HIDDEN, Scratch
from tests.devices.wire import Device, Wire
from tinykit.errors import LinkError, UsageError
from tinykit.link import Client
from tinykit.link.frames import Frame
from tinykit.link.messages import PROTOCOL_VERSION, Kind, Status

Programs = Callable[..., Path]
Models = Callable[..., Scratch]
RANDOM = np.random.default_rng(7)
SAMPLES = RANDOM.integers(-128, 128, (12, 700), dtype=np.int8)
LABELS = RANDOM.integers(0, 10, 12)


def connect(wire: Wire, **options: object) -> Client:
    return Client(wire.url, timeout=0.5, **options)  # type: ignore[arg-type]


def test_hello_tells_what_the_firmware_is(wire: Wire, models: Models) -> None:
    model = models()
    with connect(wire) as client:
        hello = client.hello
    assert (hello.name, hello.identity) == ("scratch", model.identity)
    assert (hello.input_bytes, hello.output_bytes, hello.op_count) == (700, 10, 6)
    assert hello.parameter_bytes == model.parameter_bytes
    assert hello.payload == 512
    assert hello.trains
    assert hello.traces


def test_outputs_do_not_depend_on_how_they_are_cut_into_frames(programs: Programs) -> None:
    outputs = []
    for payload, trace in ((144, True), (512, False), (4096, True)):
        program = programs(payload=payload, trace=trace, outputs=300)
        with Wire(Device(program)) as wire, connect(wire) as client:
            outputs.append([client.infer(sample) for sample in SAMPLES[:3]])
    assert all(output.shape == (300,) for output in outputs[0])
    assert len({output.tobytes() for output in outputs[0]}) == 3
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_training_changes_parameters_and_reset_undoes_it(wire: Wire) -> None:
    with connect(wire) as client:
        first = client.parameters()
        steps = client.train_all(SAMPLES, LABELS)
        assert [step.step for step in steps] == list(range(1, 13))
        assert all(0 <= step.prediction < 10 and step.loss > 0 for step in steps)
        learnt = client.parameters()
        assert learnt != first
        assert zlib.crc32(learnt) == client.parameters_crc()
        counters = client.counters()
        assert (counters.step, counters.saturations) == (12, 6)
        assert (counters.stack_used, counters.cycles) == (123, 1000)
        assert counters.rollbacks == steps[-1].rollbacks == 2  # a fifth of the steps
        client.reset()
        assert client.parameters() == first
        assert client.counters().step == 0


@pytest.mark.parametrize("payload", [144, 512])
def test_telemetry_of_the_last_step(payload: int, programs: Programs) -> None:
    program = programs(payload=payload, trained=9)  # more tensors than fit into 144 bytes
    with Wire(Device(program)) as wire, connect(wire) as client:
        told = client.telemetry()
        assert (told.step, told.saturated, told.cycles, len(told.changes)) == (0, 0, 0, 9)
        for sample, label in zip(SAMPLES[:2], LABELS, strict=False):
            client.train(sample, label)
        told = client.telemetry()
        assert (told.step, told.saturated, told.cycles, told.trained) == (2, 1, 1000, 9)
        expected = [(10 + i, 2**40 + i, 3 * 2**33 + 2) for i in range(9)]
        assert [(c.updated, c.moved, c.magnitude) for c in told.changes] == expected
        client.reset()
        assert (client.telemetry().step, client.telemetry().saturated) == (0, 0)


def test_training_learns_the_samples(wire: Wire) -> None:
    done: list[tuple[int, int]] = []
    with connect(wire) as client:
        for _ in range(25):
            client.train_all(SAMPLES[:5], [0, 1, 2, 3, 4])
        result = client.evaluate(
            SAMPLES[:5], [0, 1, 2, 3, 4], progress=lambda *state: done.append(state)
        )
    assert result.accuracy == 1.0
    assert done[-1] == (5, 5)


@pytest.mark.parametrize("scratch_bytes", [0, 1024])
def test_saved_parameters_come_back(programs: Programs, scratch_bytes: int) -> None:
    program = programs(scratch_bytes=scratch_bytes)
    with Wire(Device(program)) as wire:
        with connect(wire) as client:
            client.train_all(SAMPLES, LABELS)
            saved, learnt = client.save(), client.parameters()
        wire.device.restart()
        with connect(wire) as client:
            assert client.parameters() != learnt
            client.load(saved)
            assert client.parameters() == learnt
            assert client.train(SAMPLES[0], 1).step == 13
            for at in (0, len(saved) // 2, len(saved) - 1):
                damaged = bytearray(saved)
                damaged[at] ^= 1
                with pytest.raises(LinkError, match=r"refused LOAD: .*(damaged|another model)"):
                    client.load(bytes(damaged))
            with pytest.raises(LinkError, match=r"refused LOAD: .*wrong size"):
                client.load(saved[:-1])
            with pytest.raises(UsageError, match="not of model 'scratch'"):
                client.load(saved + b"x")


def test_parameters_of_another_model_are_refused(programs: Programs) -> None:
    with Wire(Device(programs(seed=5, name="other"))) as wire, connect(wire) as client:
        theirs = client.save()
    with Wire(Device(programs())) as wire, connect(wire) as client:
        saved_by_another = pytest.raises(LinkError, match="saved by another model")
        with saved_by_another:
            client.load(theirs)


def test_the_trace_covers_the_operators_asked_for(wire: Wire) -> None:
    with connect(wire) as client:
        crcs = []
        for last in (-1, 0, 1, 2):
            client.trace(last)
            client.infer(SAMPLES[0])
            crcs.append(client.trace(-1))
        client.trace(2)
        head = zlib.crc32(client.infer(SAMPLES[0]).tobytes(), crcs[2])
    assert crcs[0] == 0
    assert len(set(crcs)) == 4
    assert crcs[3] == head


# ---- refusals ----


def test_another_models_firmware_is_refused_in_one_line(wire: Wire) -> None:
    manifest = SimpleNamespace(name="keywords", identity="ab" * 16)
    with pytest.raises(LinkError, match=r"holds model 'scratch' .* not 'keywords'") as caught:
        connect(wire, manifest=manifest)
    assert "\n" not in caught.value.message


def test_the_right_manifest_is_accepted(wire: Wire, models: Models) -> None:
    manifest = SimpleNamespace(name="scratch", identity=models().identity)
    connect(wire, manifest=manifest).close()


def test_another_version_of_the_link_is_refused_in_one_line(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinykit.link.client.PROTOCOL_VERSION", 9)
    with pytest.raises(LinkError, match=f"speaks version {PROTOCOL_VERSION} of the link"):
        connect(wire)


def test_firmware_that_only_infers_says_so(programs: Programs) -> None:
    with Wire(Device(programs(trains=False, trace=False))) as wire, connect(wire) as client:
        assert client.infer(SAMPLES[0]).size == 10
        with pytest.raises(LinkError, match="only infers"):
            client.train(SAMPLES[0], 1)
        for kind in (Kind.TRAIN, Kind.RESET, Kind.LOAD, Kind.TRACE):
            with pytest.raises(LinkError, match="built without it"):
                client._session.request(kind, bytes(8))
        with pytest.raises(LinkError, match="without the layer trace"):
            client.trace(1)


def test_a_label_without_a_class_is_refused_and_changes_nothing(wire: Wire) -> None:
    with connect(wire) as client:
        before = client.parameters()
        for label in (-1, 10, 2**31 - 1):
            with pytest.raises(LinkError, match=r"refused TRAIN: .*no class"):
                client.train(SAMPLES[0], label)
        with pytest.raises(UsageError, match="no class"):
            client.train(SAMPLES[0], 2**40)
        assert client.parameters() == before


def test_a_sample_is_learnt_after_its_prediction(wire: Wire) -> None:
    """As if it had been sent again; before any has run, and after RESET, one clear line."""
    with connect(wire) as client:
        for sample, label in zip(SAMPLES, LABELS, strict=True):
            client.train(sample, int(label))
        trained = client.parameters()
        client.reset()
        with pytest.raises(LinkError, match="refused LEARN: no sample is kept: none has run since"):
            client.learn(1)
        for sample, label in zip(SAMPLES, LABELS, strict=True):
            client.infer(sample)
            last = client.learn(int(label))
        assert last.step == 12
        assert client.counters().step == 12
        assert client.parameters() == trained
        with pytest.raises(LinkError, match=r"refused LEARN: .*no class"):
            client.learn(10)
        assert client.parameters() == trained


def test_firmware_that_keeps_no_samples_says_so(programs: Programs) -> None:
    with Wire(Device(programs(learns=False))) as wire, connect(wire) as client:
        client.infer(SAMPLES[0])
        with pytest.raises(LinkError, match="'scratch' keeps no samples"):
            client.learn(1)
        with pytest.raises(LinkError, match="built without it"):
            client._session.request(Kind.LEARN, bytes(4))


def test_samples_of_the_wrong_size_or_type_are_usage_errors(wire: Wire) -> None:
    with connect(wire) as client:
        with pytest.raises(UsageError, match="699 bytes does not fit"):
            client.infer(SAMPLES[0][:-1])
        with pytest.raises(UsageError, match="not float64"):
            client.infer(SAMPLES[0].astype(np.float64))
        with pytest.raises(UsageError, match="12 samples but 2 labels"):
            client.evaluate(SAMPLES, [1, 2])


@pytest.mark.parametrize(
    ("kind", "payload", "status"),
    [
        (Kind.WRITE_INPUT, struct.pack("<I", 700) + b"x", Status.RANGE),
        (Kind.WRITE_INPUT, struct.pack("<I", 2**32 - 1) + b"xx", Status.RANGE),
        (Kind.WRITE_INPUT, b"abc", Status.LENGTH),
        (Kind.INFER, b"", Status.LENGTH),
        (Kind.INFER, struct.pack("<I", 1), Status.CONTENT),
        (Kind.TRAIN, bytes(9), Status.LENGTH),
        (Kind.LEARN, bytes(12), Status.LENGTH),
        (Kind.LEARN, bytes(2), Status.LENGTH),
        (Kind.LEARN, struct.pack("<iI", 0, 1), Status.CONTENT),
        (Kind.READ_OUTPUT, struct.pack("<II", 0, 10), Status.ORDER),
        (Kind.READ_PARAMETERS, struct.pack("<II", 0, 513), Status.RANGE),
        (Kind.READ_PARAMETERS, struct.pack("<II", 2**32 - 1, 2), Status.RANGE),
        (Kind.READ_PARAMETERS, struct.pack("<II", 200, 1), Status.RANGE),
        (Kind.READ_PARAMETERS, bytes(7), Status.LENGTH),
        (Kind.READ_SAVED, struct.pack("<II", 0, 1), Status.ORDER),
        (Kind.WRITE_SAVED, struct.pack("<I", 216) + b"x", Status.RANGE),
        (Kind.LOAD, struct.pack("<II", 217, 0), Status.RANGE),
        (Kind.LOAD, struct.pack("<II", 216, 0), Status.ORDER),
        (Kind.TRACE, b"", Status.LENGTH),
        (0x7E, b"", Status.UNKNOWN),
    ],
)
def test_what_a_host_may_not_ask(
    programs: Programs, kind: int, payload: bytes, status: Status
) -> None:
    assert HIDDEN * 10 + 4 * 10 == 200  # the parameters that the cases above reach past
    device = Device(programs())
    try:
        (hello,) = device.ask(
            Frame(Kind.HELLO, 0, 5, 77, struct.pack("<H", PROTOCOL_VERSION)).encode()
        )
        assert hello.status == Status.OK
        (reply,) = device.ask(Frame(kind, 0, 6, 77, payload).encode())
        assert (reply.status, reply.sequence, reply.session) == (status, 6, 77)
        assert reply.payload == b""
    finally:
        device.stop()


# ---- things that go wrong on the way ----


def test_a_restarted_device_is_noticed(wire: Wire) -> None:
    with connect(wire) as client:
        client.train(SAMPLES[0], 1)
        wire.device.restart()
        with pytest.raises(LinkError, match="was restarted"):
            client.train(SAMPLES[1], 1)
    with connect(wire) as client:
        assert client.train(SAMPLES[0], 1).step == 1


def test_a_port_that_vanishes_is_one_line(programs: Programs) -> None:
    with Wire(Device(programs())) as wire:
        client = connect(wire)
        wire.unplug()
        wire.device.stop()
        with pytest.raises(LinkError, match=r"the port socket://.* has gone") as caught:
            client.train_all(SAMPLES, LABELS)
        assert "\n" not in caught.value.message


def test_a_port_that_cannot_be_opened_is_one_line() -> None:
    for url in ("/dev/ttyNOSUCH9", "socket://127.0.0.1:1", "nonsense://x"):
        with pytest.raises(LinkError, match="cannot open") as caught:
            Client(url) if "socket" not in url else _impatient(url)
        assert "\n" not in caught.value.message


def _impatient(url: str) -> None:
    from tinykit.link.port import Port

    Port(url, patience=0.1)


def test_a_silent_device_is_given_up(wire: Wire) -> None:
    wire.to_device = lambda frame: []
    with pytest.raises(LinkError, match=r"no answer to HELLO .* 3 × 0.05 s"):
        Client(wire.url, timeout=0.05, retries=2)


def test_a_fault_is_reported_by_name(wire: Wire) -> None:
    def faulting(frame: bytes) -> list[bytes]:
        session = client._session._session
        fault = Frame(Kind.FAULT, 0, 1, session, struct.pack("<III", 6, 0x1234, 1 << 24))
        return [fault.encode()]

    with connect(wire) as client:
        wire.to_host = faulting
        with pytest.raises(LinkError, match=r"UsageFault at 0x00001234 \(unaligned access\)"):
            client.infer(SAMPLES[0])


# ---- other ports than TCP ----


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_a_terminal_device_works_and_its_unplugging_is_noticed(programs: Programs) -> None:
    device = Device(programs())
    ours, theirs = os.openpty()
    tty.setraw(ours)
    line = os.ttyname(theirs)
    ended = threading.Event()

    def carry() -> None:
        while not ended.is_set():
            ready, _, _ = select.select([ours, device.process.stdout], [], [], 0.05)
            if ours in ready:
                device.write(os.read(ours, 4096))
            if device.process.stdout in ready:
                os.write(ours, device.read(0))

    carrier = threading.Thread(target=carry, daemon=True)
    carrier.start()
    try:
        with Client(line, timeout=0.5) as client:
            assert client.train(SAMPLES[0], 1).step == 1
            saved = client.save()
            client.load(saved)
            with pytest.raises(LinkError, match=rf"cannot open {line}: .*lock"):
                Client(line)
            ended.set()
            carrier.join()
            os.close(theirs)
            os.close(ours)
            with pytest.raises(LinkError, match=rf"the port {line} has gone"):
                client.train(SAMPLES[0], 1)
    finally:
        device.stop()


def test_a_port_that_cannot_be_waited_on_works_too(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a COM port on Windows: no file descriptor to select."""

    def none(_: object) -> int:
        raise OSError("no descriptor")

    monkeypatch.setattr("serial.urlhandler.protocol_socket.Serial.fileno", none)
    with connect(wire) as client:
        assert client._session._port._descriptor is None
        assert client.train(SAMPLES[0], 1).step == 1
        assert client.infer(SAMPLES[0]).size == 10
