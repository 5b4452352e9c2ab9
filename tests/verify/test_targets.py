"""Targets that are vectors, or none at all, on their way to a device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.networks import Network
from tinykit.boards import load_board
from tinykit.build import build_firmware
from tinykit.codegen import generate
from tinykit.codegen.manifest import Manifest
from tinykit.data import Samples
from tinykit.errors import LinkError, UsageError
from tinykit.host import HostModel
from tinykit.link import Client
from tinykit.session import Deviation, Session
from tinykit.targets import open_target
from tinykit.training.plan import Optimizer, Plan, Training, Update

BOARD = "mps2_an386"
TRAININGS = {
    "multi": Training(),
    "squared": Training(loss="mean_squared_error", target="input"),
}


def made(kind: str, folder: Path) -> tuple[Manifest, Samples]:
    """Generated code, and samples with the targets of its loss."""
    net = Network((1, 4, 4, 2), seed=51)
    x = net.dense(net.dense(net.flatten("x"), 6, "relu"), 32)
    output = net.sigmoid(x) if kind == "multi" else net.reshape(x, (1, 4, 4, 2))
    plan = Plan(
        training=TRAININGS[kind],
        optimizer=Optimizer(learning_rate=0.1),
        update=(Update(layers="all", bias=True, weights=1.0),),
    )
    y = net.random.integers(0, 2, (12, 32)).astype(np.float32) if kind == "multi" else None
    return generate(net.graph(output), folder, name="m", plan=plan), Samples(net.inputs(12), y, "s")


@pytest.mark.parametrize("kind", TRAININGS)
def test_device_equals_host_and_learns(kind: str, tmp_path: Path) -> None:
    manifest, samples = made(kind, tmp_path / "generated")
    board = load_board(BOARD)
    elf = build_firmware(tmp_path / "generated", board, tmp_path / "work", check=False).elf
    with (
        open_target("unicorn", elf=elf, board=board) as target,
        Client(target.url, manifest, elf=elf) as client,
    ):
        session = Session(client, manifest)
        reference = HostModel(tmp_path / "generated")
        assert session.verify(reference, samples, steps=20, inferences=2).equal
        before = session.evaluate(samples)
        steps = session.train(samples, epochs=5)
        after = session.evaluate(samples)
        assert isinstance(before, Deviation)
        assert isinstance(after, Deviation)
        assert after.mean_squared < 0.8 * before.mean_squared
        assert (after.right is None) == (kind == "squared")
        assert all(step.label is None for step in steps)
        if kind == "multi":
            learnt = client.parameters()
            with pytest.raises(LinkError, match="outside"):
                client.train(session.quantize(samples)[0], np.zeros(33, np.int8))
            with pytest.raises(LinkError, match="not the data"):
                client.train(session.quantize(samples)[0], np.zeros(31, np.int8))
            assert client.parameters() == learnt


def test_targets_of_another_size_are_a_usage_error(tmp_path: Path) -> None:
    manifest, samples = made("multi", tmp_path)
    assert manifest.target is not None
    form = manifest.target.form
    few = Samples(samples.x, np.zeros((12, 5), np.float32), "few")
    with pytest.raises(UsageError, match=r"few: y has 5 values .* takes a class of 0 … 31 or 32"):
        few.targets(form)
    with pytest.raises(UsageError, match="must be in 0 … 1"):
        Samples(samples.x, np.full((12, 32), 1.5, np.float32), "high").targets(form)
    assert Samples(samples.x, np.arange(12, dtype=np.int32), "classes").targets(form)[3] == 3
    with pytest.raises(UsageError, match="label 99: the model has classes 0 … 31"):
        Samples(samples.x, np.full(12, 99, np.int32), "large").targets(form)
    with pytest.raises(UsageError, match="has samples but no labels"):
        Samples(samples.x, None, "none").targets(form)
