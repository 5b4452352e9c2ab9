"""What sections of a plan add to the engine, in firmware: as on the host, bit for bit."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.support.architectures import residual
from tinykit.boards import load_board
from tinykit.build import build_firmware
from tinykit.codegen import generate
from tinykit.data import Samples
from tinykit.host import HostModel
from tinykit.link import Client
from tinykit.session import Session
from tinykit.targets import open_target
from tinykit.telemetry import StepLog
from tinykit.training.plan import Guard, Optimizer, Plan, Update

pytestmark = pytest.mark.emulator
UPDATE = (Update(layers="last 3", bias=True, weights=0.6),)
TARGET = "qemu" if shutil.which("qemu-system-arm") else "unicorn"


@contextmanager
def running(plan: Plan, folder: Path) -> Iterator[tuple[Client, HostModel, Samples]]:
    """A residual network that learns: firmware under way, the same C here, and samples."""
    net, output = residual()
    x = net.inputs(24)
    manifest = generate(
        net.graph(output), folder / "c", name="model", plan=plan, samples=x[:4], labels=[0, 1, 2, 0]
    )
    board = load_board("mps2_an386")
    firmware = build_firmware(folder / "c", board, folder / "work", check=False)
    linked = firmware.report.kinds("sram")
    assert {item: linked[item] for item in manifest.memory.sram} == manifest.memory.sram
    samples = Samples(x, np.arange(24) % 3, "noise")
    with (
        open_target(TARGET, elf=firmware.elf, board=board) as target,
        Client(target.url, manifest, elf=firmware.elf) as client,
    ):
        yield client, HostModel(folder / "c"), samples


def test_the_guard_goes_back_on_the_device(tmp_path: Path) -> None:
    """By a rate that is too high, through verify; then what the log and the counters say of it."""
    plan = Plan(
        optimizer=Optimizer(learning_rate=2.0, momentum=0.5),
        guard=Guard(window=5, factor=1.25),
        update=UPDATE,
    )
    with running(plan, tmp_path) as (client, host, samples):
        session = Session(client, host.manifest)
        result = session.verify(host, samples, steps=60, inferences=2)
        assert result.equal
        assert result.steps == 60
        assert host.rollbacks > 3
        assert result.differing_bits == 0
        client.reset()
        host.reset()
        assert client.counters().rollbacks == 0
        with StepLog(tmp_path / "log", host.manifest) as log:
            steps = session.train(samples, epochs=2, log=log)
        x, labels = session.quantize(samples), samples.labels()
        expected = [host.train(x[i % 24], int(labels[i % 24])).rollbacks for i in range(48)]
        assert [step.rollbacks for step in steps] == expected
        assert client.parameters() == host.parameters()
        assert client.counters().rollbacks == expected[-1] > 3
        lines = (tmp_path / "log" / "steps.csv").read_text().splitlines()
        column = lines[0].split(",").index("rollbacks")
        assert [int(line.split(",")[column]) for line in lines[1:]] == expected
        saved = client.save()
        client.reset()
        client.load(saved)
        assert client.counters().rollbacks == expected[-1]
        assert zlib.crc32(client.parameters()) == zlib.crc32(host.parameters())
