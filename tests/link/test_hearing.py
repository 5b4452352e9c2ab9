"""BEGIN and PUSH: a model with a frontend behind the firmware's link, on this machine under
sanitizers, and over a wire that loses replies."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.devices.scratch import FIRMWARE
from tests.devices.wire import Device, Wire
from tests.host.test_frontend_models import frontend_of, motion_model, raw, sound_model
from tests.support.streamed import FLAGS, runtime_objects
from tinykit.codegen import generate
from tinykit.errors import LinkError, UsageError
from tinykit.frontend.model import motion_for
from tinykit.host import HostModel
from tinykit.link import Client
from tinykit.link.messages import Kind
from tinykit.verify.frontend import compare_inputs

Programs = Callable[..., Path]


def device_of(kind: str, folder: Path) -> Device:
    """The firmware around a small model with a frontend, as a program of this machine."""
    graph = sound_model() if kind == "sound" else motion_model()
    generate(graph, folder, name="heard", frontend=frontend_of(kind, graph, 4))
    devices = Path(__file__).parents[1] / "devices"
    support = FIRMWARE / "platform" / "tinykit-cortexm" / "support"
    sources = [FIRMWARE / "src" / f"{n}.c" for n in ("main", "link", "requests", "frame")]
    sources += [folder / "heard.c", devices / "host_board.c"]
    includes = [f"-I{path}" for path in (folder, FIRMWARE / "src", devices, support)]
    command = ["gcc", *FLAGS, "-Wall", "-Wextra", "-Wconversion", "-Werror", *includes]
    command += [*map(str, [*sources, *runtime_objects()]), "-o", str(folder / "device")]
    subprocess.run(command, check=True)
    return Device(folder / "device")


@pytest.mark.parametrize("kind", ["sound", "motion"])
def test_the_device_makes_the_hosts_inputs(kind: str, tmp_path: Path) -> None:
    device, host, x = device_of(kind, tmp_path), HostModel(tmp_path), raw(kind)
    with Wire(device) as wire, Client(wire.url, host.manifest) as client:
        assert client.hello.hears
        made, difference = compare_inputs(client, host, [x, x[: len(x) // 2]])
        assert difference is None
        assert made > 10
        client.begin()
        rest, outputs = x, []
        while len(rest):
            taken, crc = client.push(rest)
            rest = rest[taken:]
            if crc is not None:
                outputs.append(client.infer_held(crc))
        inputs = frontend_of(kind, sound_model() if kind == "sound" else motion_model(), 4).inputs(
            x
        )
        np.testing.assert_array_equal(outputs, [host.infer(v).reshape(-1) for v in inputs])


def test_another_frontend_is_told_apart(tmp_path: Path) -> None:
    device, graph = device_of("motion", tmp_path / "a"), motion_model()
    means = (12.0, -299.4, 4096.0)
    other = motion_for(means, (250.0, 410.5, 900.0), graph[graph.inputs[0]], 4)
    generate(graph, tmp_path / "b", name="heard", frontend=other)
    with Wire(device) as wire, Client(wire.url) as client:
        made, difference = compare_inputs(client, HostModel(tmp_path / "b"), [raw("motion")])
    assert difference is not None
    assert difference.when == f"input {made} (recording 0)"
    assert "checksum" in difference.what


def test_a_lost_reply_does_not_push_twice(tmp_path: Path) -> None:
    x = raw("motion")
    with Wire(device_of("motion", tmp_path)) as wire, Client(wire.url, timeout=0.3) as client:
        host, lost = HostModel(tmp_path), [0]

        def every_third(frame: bytes) -> list[bytes]:
            lost[0] += 1
            return [] if lost[0] % 3 == 0 else [frame]

        wire.to_host = every_third
        made, difference = compare_inputs(client, host, [x[i : i + 40] for i in (0, 40)])
        wire.to_host = lambda frame: [frame]
        assert (made, difference) == (14, None)
        assert client.counters().repeated > 0


def test_what_cannot_be_pushed_is_refused(tmp_path: Path, programs: Programs) -> None:
    with Wire(device_of("motion", tmp_path)) as wire, Client(wire.url) as client:
        with pytest.raises(UsageError, match="samples are int16"):
            client.push(np.zeros((3, 3), np.int8))  # type: ignore[arg-type]
        for wrong in (b"", bytes(5), bytes(8)):
            with pytest.raises(LinkError, match="wrong length"):
                client._session.request(Kind.PUSH, wrong)
        with pytest.raises(LinkError, match="not the data"):
            client.infer_held(zlib.crc32(b"another input"))
    with Wire(Device(programs())) as wire, Client(wire.url) as client:
        with pytest.raises(LinkError, match="has no frontend"):
            client.push(np.zeros(3, np.int16))
        with pytest.raises(LinkError, match="built without it"):
            client._session.request(Kind.BEGIN, b"")
