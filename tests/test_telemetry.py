"""What `tinykit train --log` writes: read back from the disk, as TensorFlow reads it."""

from __future__ import annotations

import builtins
import csv
import os
from pathlib import Path
from typing import Any

import pytest

from tests.devices.learner import Learner, make_learner
from tinykit.errors import TinykitError, UsageError
from tinykit.link.messages import Change, Step, Telemetry
from tinykit.telemetry import StepLog

HALF = 0x3F000000  # the float32 0.5


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    return make_learner(tmp_path_factory.mktemp("learner"))


def said(learner: Learner, number: int) -> tuple[Step, Telemetry]:
    """What a device could say of a step: tensor i changed number + i times, by 512 in all."""
    trained = learner.manifest.trained
    changes = tuple(Change(number + i, 512, 40) for i in range(len(trained)))
    step = Step(0, 2, HALF, number, 3 * number, 1, sum(change.updated for change in changes), 4)
    return step, Telemetry(number, 3, 0, len(trained), changes)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "steps.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def events(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """(step, values) of all events of the only event file."""
    import tensorflow as tf

    (path,) = folder.glob("*tfevents*")
    found = tf.compat.v1.train.summary_iterator(str(path))
    return [(e.step, {v.tag: v.simple_value for v in e.summary.value}) for e in found][1:]


def test_every_step_is_on_disk_before_the_next(learner: Learner, tmp_path: Path) -> None:
    """Read while the log is open, as after a crash or when the port is gone."""
    folder = tmp_path / "a" / "b"
    names = [p.name for p in learner.manifest.trained]
    assert len(names) == 3
    with StepLog(folder, learner.manifest) as log:
        for number in (1, 2, 3):
            log.add(*said(learner, number), label=2, instructions=1000 + number)
            last = rows(folder)[-1]
            assert (last["step"], last["loss"], last["label"]) == (str(number), "0.5", "2")
            assert (last["saturated"], last["saturations"]) == ("3", str(3 * number))
            assert (last["cycles"], last["instructions"]) == ("", str(1000 + number))
            seen = events(folder)
            assert [step for step, _ in seen] == list(range(1, number + 1))
    values = seen[-1][1]
    assert (values["loss"], values["saturated"], values["instructions"]) == (0.5, 3, 1003)
    assert (values["skipped"], values["right"]) == (1, 1)
    assert "cycles" not in values
    for i, name in enumerate(names):
        assert values[f"updated/{name}"] == float(last[f"updated/{name}"]) == 3 + i
        # 512 units of 1/256 are two whole steps, of weights whose sum is 40
        assert values[f"ratio/{name}"] == pytest.approx(2 / 40)
        assert float(last[f"ratio/{name}"]) == 2 / 40


def test_a_step_without_label_or_class_has_empty_cells(learner: Learner, tmp_path: Path) -> None:
    step, telemetry = said(learner, 1)
    zeros = tuple(Change(0, 0, 0) for _ in telemetry.changes)
    with StepLog(tmp_path, learner.manifest) as log:
        log.add(Step(0, -1, step.loss_bits, 1, 0, 0, 0, 0), Telemetry(1, 0, 77, len(zeros), zeros))
    (row,) = rows(tmp_path)
    assert (row["label"], row["prediction"], row["cycles"], row["instructions"]) == (
        "",
        "",
        "77",
        "",
    )
    assert {row[f"ratio/{p.name}"] for p in learner.manifest.trained} == {""}
    assert "right" not in events(tmp_path)[0][1]


def test_a_full_disk_is_one_line_and_costs_no_row_before(learner: Learner, tmp_path: Path) -> None:
    with StepLog(tmp_path, learner.manifest) as log:
        log.add(*said(learner, 1))
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, log._file.fileno())
        with pytest.raises(TinykitError, match=r"cannot be written: No space left") as caught:
            log.add(*said(learner, 2))
        os.close(full)
    assert "\n" not in caught.value.message
    assert [row["step"] for row in rows(tmp_path)] == ["1"]
    assert len(events(tmp_path)) == 1


def test_a_log_is_never_overwritten(learner: Learner, tmp_path: Path) -> None:
    with StepLog(tmp_path, learner.manifest) as log:
        log.add(*said(learner, 1))
    with pytest.raises(UsageError, match=r"steps\.csv exists"):
        StepLog(tmp_path, learner.manifest)
    assert len(rows(tmp_path)) == 1


def test_a_folder_that_cannot_be_made_is_one_line(learner: Learner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TinykitError, match="cannot be written"):
        StepLog(tmp_path / "file" / "log", learner.manifest)


def test_without_tensorboardx_the_command_that_gets_it_is_named(
    learner: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(TinykitError, match="not installed") as caught:
        StepLog(tmp_path, learner.manifest)
    assert caught.value.hint == "pip install 'tinykit-mcu[tensorboard]'"
    assert not list(tmp_path.iterdir())
