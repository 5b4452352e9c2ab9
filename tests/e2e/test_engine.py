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
from tinykit.errors import LinkError
from tinykit.host import HostModel
from tinykit.link import Client
from tinykit.session import Session
from tinykit.targets import open_target
from tinykit.telemetry import StepLog
from tinykit.training.plan import Guard, Keep, Optimizer, Plan, Replay, Training, Update

pytestmark = pytest.mark.emulator
SAID = ("status", "prediction", "loss", "step", "saturations", "skipped", "updated")
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


@pytest.mark.parametrize("keep", ["features", "input"])
def test_what_is_kept_of_samples_trains_on_the_device(keep: Keep, tmp_path: Path) -> None:
    """With past samples in between; predicted and learnt later; after what was saved is loaded."""
    plan = Plan(
        optimizer=Optimizer(learning_rate=0.02, accumulate=2),
        training=Training(keep=keep),
        replay=Replay(samples=5, per_step=2),
        update=UPDATE,
    )
    with running(plan, tmp_path) as (client, host, samples):
        session = Session(client, host.manifest)
        assert host.manifest.memory.sram["replay"] > 5 * host.manifest.input.bytes // 4
        result = session.verify(host, samples, steps=16, inferences=2)
        assert result.equal
        assert result.steps == 16
        assert result.differing_bits == 0
        client.reset()
        host.reset()
        x, labels = session.quantize(samples), samples.labels().tolist()
        with pytest.raises(LinkError, match="no sample is kept"):
            client.learn(labels[0])
        assert host.learn(labels[0]).status == 6
        for sample, label in zip(x[:14], labels, strict=False):
            np.testing.assert_array_equal(client.infer(sample), host.infer(sample).ravel())
            told, expected = client.learn(label), host.learn(label)
            assert all(getattr(told, name) == getattr(expected, name) for name in SAID)
            assert client.parameters_crc() == zlib.crc32(host.parameters())
        assert host.learn(0).step == client.learn(0).step == 14 * 3 - 2 + 3
        saved = client.save()
        assert saved == host.save()
        client.load(saved)
        host.load(saved)
        with pytest.raises(LinkError, match="no sample is kept"):
            client.learn(labels[0])
        client.train(x[0], labels[0])
        host.train(x[0], labels[0])
        assert client.save() == host.save()
