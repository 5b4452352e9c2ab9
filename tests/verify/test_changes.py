"""What a device says of its steps is what the plan allows and what the host's build says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.devices.learner import Learner
from tinykit.boards import Board
from tinykit.host import HostModel
from tinykit.host.library import StepResult
from tinykit.link import Client
from tinykit.targets import open_target
from tinykit.verify import compare

pytestmark = pytest.mark.emulator
Firmware = Callable[..., tuple[Path, Board]]

# The learner's plan: biases of the last two layers, weights of the last one, all of them.
PLANNED = {"conv2d": {"bias": 8}, "fully_connected": {"bias": 4, "weights": 4 * 8}}


@pytest.mark.parametrize("board", ["mps2_an386", "mps2_an385_m0plus"])
def test_a_device_changes_what_the_plan_says(
    board: str, learner: Learner, firmware: Firmware
) -> None:
    trained = learner.manifest.trained
    sizes: dict[str, dict[str, int]] = {}
    for p in trained:
        layer, what = p.name.rsplit("/", 1)
        sizes.setdefault(layer.rstrip("_0123456789"), {})[what] = p.size
    assert sizes == PLANNED
    host = HostModel(learner.generated)
    elf, chosen = firmware(board)
    ever = [0] * len(trained)
    with (
        open_target("unicorn", elf=elf, board=chosen) as running,
        Client(running.url, learner.manifest) as client,
    ):
        for i in range(12):
            sample, label = learner.samples[i], int(learner.labels[i])
            step, told = client.train(sample, label), client.telemetry()
            reference = host.train(sample, label)
            assert told.changes == host.changes()
            assert (told.step, told.saturated) == (i + 1, reference.saturated)
            assert step.updated == sum(change.updated for change in told.changes)
            ever = [max(a, c.updated) for a, c in zip(ever, told.changes, strict=True)]
            assert all(c.updated <= p.size for p, c in zip(trained, told.changes, strict=True))
    assert all(ever)


class Miscounting(HostModel):
    """A reference that would change one weight more, or skip a step."""

    field = ""

    def train(self, *arguments: Any) -> StepResult:
        step = super().train(*arguments)
        return replace(step, **{self.field: getattr(step, self.field) + 1})


@pytest.mark.parametrize(
    ("field", "what"),
    [("updated", "updated weights"), ("skipped", "skipped steps"), ("rollbacks", "rollbacks")],
)
def test_verification_compares_what_steps_skip_and_change(
    field: str, what: str, learner: Learner, firmware: Firmware
) -> None:
    elf, board = firmware()
    reference = Miscounting(learner.generated)
    reference.field = field
    with (
        open_target("unicorn", elf=elf, board=board) as running,
        Client(running.url, learner.manifest) as client,
    ):
        result = compare(client, reference, learner.samples, learner.labels, steps=2, inferences=1)
    assert result.difference is not None
    assert result.difference.what == f"count of {what}"
    assert result.difference.when == "training step 1"
