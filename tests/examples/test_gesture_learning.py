"""The shipped model learns subject 1, whom it has not seen; device and host agree on every bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress

from tinykit.boards import load_board
from tinykit.build import build_firmware, check_fit
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.project import Project
from tinykit.training.plan import Plan


def generated(gesture: SimpleNamespace, folder: Path, plan: str) -> Any:
    """C for the shipped model with one of the example's plans; its manifest."""
    split = gesture.data.make_split(gesture.data.SHOWN_SUBJECT)
    graph = load_model(gesture.folder / "model.tflite")
    return gesture.factory.generate_model(graph, split, folder, Plan.load(gesture.folder / plan))


def windows_of(gesture: SimpleNamespace) -> tuple[Any, Any]:
    """Adaptation and test windows of subject 1, int8, each with its labels."""
    split = gesture.data.make_split(gesture.data.SHOWN_SUBJECT)
    graph = load_model(gesture.folder / "model.tflite")
    adapt, test = ((gesture.factory.int8_windows(w, graph), w.y) for w in (split.adapt, split.test))
    return adapt, test


def accuracy(host: HostModel, test: tuple[Any, Any]) -> float:
    found = [int(host.infer(x).argmax()) for x in test[0]]
    return 100 * float(np.mean(np.array(found) == test[1]))


def test_the_sparse_plan_teaches_more_than_the_head_alone(
    gesture: SimpleNamespace, recordings: None, tmp_path: Path
) -> None:
    gain = {}
    for plan in ("plan.toml", "head_only.toml"):
        folder = tmp_path / plan
        generated(gesture, folder, plan)
        adapt, test = windows_of(gesture)
        host = HostModel(folder)
        before = accuracy(host, test)
        for x, label in zip(*adapt, strict=True):
            host.train(x, int(label))
        gain[plan] = accuracy(host, test) - before
    assert gain["plan.toml"] >= 3
    assert gain["plan.toml"] > gain["head_only.toml"]


@pytest.mark.emulator
def test_a_session_on_the_device_equals_its_replay(
    gesture: SimpleNamespace, recordings: None, tmp_path: Path
) -> None:
    manifest = generated(gesture, tmp_path / "generated", "plan.toml")
    board = load_board("mps2_an386")
    firmware = build_firmware(tmp_path / "generated", board, tmp_path / "firmware")
    built = gesture.demo.Built(tmp_path, manifest, check_fit(manifest, board), firmware)
    assert gesture.demo.memory_faults(built) == []

    adapt, test = windows_of(gesture)
    some = (adapt[0][:40], adapt[1][:40]), (test[0][::20], test[1][::20])
    trial = gesture.session.run_trial(
        tmp_path / "generated", firmware.elf, board, "unicorn", None, *some, Progress(disable=True)
    )
    assert trial.equal
    assert trial.steps == 40
    assert trial.compared > 8 * manifest.parameter_bytes
    infer, step = gesture.session.count_instructions(
        firmware.elf, board, "unicorn", adapt[0][0], int(adapt[1][0])
    )
    assert manifest.macs["infer"] < infer < step


def test_one_flipped_bit_of_what_was_learnt_is_counted(gesture: SimpleNamespace) -> None:
    run = gesture.session.Run(
        outputs_before=np.zeros((2, 7), np.int8),
        outputs_after=np.zeros((2, 7), np.int8),
        predictions=(1, 2),
        losses=np.array([0.5, 0.25], np.float32),
        parameters=bytes(16),
        saturations=0,
    )
    assert gesture.session._compare(run, run) == (8 * (28 + 8 + 8 + 16), 0)
    flipped = replace(run, parameters=b"\x04" + bytes(15))
    assert gesture.session._compare(run, flipped)[1] == 1
    other = replace(run, losses=np.nextafter(run.losses, np.float32(1)))
    assert gesture.session._compare(run, other)[1] >= 2


def test_demo_fails_when_nobody_learns_or_a_bit_differs(gesture: SimpleNamespace) -> None:
    built = SimpleNamespace(
        firmware=SimpleNamespace(
            report=SimpleNamespace(
                code=10, bss=1, stack=1, sram=5, flash=9, sram_budget=5, flash_budget=9
            )
        ),
        planned=SimpleNamespace(bounds=SimpleNamespace(code=10, bss=1, stack=1)),
    )
    good = gesture.session.Trial(80.0, 90.0, 10, 0, 100, 0, "fine")

    def faults(trial: Any, built: Any = built) -> list[str]:
        shown = gesture.demo.Shown(SimpleNamespace(subject=4), built, trial, None)
        return gesture.demo.faults_of([shown])

    assert faults(good) == []
    assert "should have risen" in faults(replace(good, after=79.0))[0]
    assert "3 bits" in faults(replace(good, differing=3, verdict="3 bits differ"))[0]
    built.firmware.report.code = 11
    assert "code: 11 B, bound 10 B" in faults(good)[0]


def test_project_file_names_what_is_there(gesture: SimpleNamespace, recordings: None) -> None:
    project = Project.open(gesture.folder)
    layers = [op.name for op in project.graph().ops]
    assert {"stem", "block2_add", "head"} <= set(layers)
    assert project.required_plan().name == "sparse"
    assert len(project.samples("test")) > 100
    assert project.board().sram == 256 * 1024
