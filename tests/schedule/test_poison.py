"""Nothing that a plan of memory gives up is ever read: it is overwritten, and results stay."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.schedule.test_replay import compiled
from tests.support.architectures import mobile
from tests.support.poison import build_poisoned, dead_after, run_poisoned
from tests.support.random_networks import Training, trainings
from tinykit.codegen import Compiled, compile_model
from tinykit.ir import Array
from tinykit.training.plan import Plan, Update

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
MODELS = (
    "mlperf_tiny/kws_ref_model.tflite",
    "mlperf_tiny/pretrainedResnet_quant.tflite",
    "mlperf_tiny/vww_96_int8.tflite",
    "mlperf_tiny/ad01_int8.tflite",
    "mcunet-5fps-10c.tflite",  # trains with the scheme 49kb
)


def noise(made: Compiled, count: int) -> list[tuple[Array, int]]:
    """Samples of full range, labelled 0 and 1 in turn."""
    graph, random = made.infer.graph, np.random.default_rng(0)
    shape = (count, *graph[graph.inputs[0]].shape)
    return [(x, i % 2) for i, x in enumerate(random.integers(-128, 128, shape, dtype=np.int8))]


def check(made: Compiled, folder: Path, steps: int) -> None:
    program, samples = build_poisoned(made, folder), noise(made, steps)
    expected, untouched = run_poisoned(program, samples, poison=False)
    found, overwritten = run_poisoned(program, samples, poison=True)
    assert expected
    assert found == expected
    assert untouched == 0
    assert overwritten > steps * made.infer.arena_bytes


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_reference_models_read_nothing_that_was_released(
    model: str, shared: Path, tmp_path: Path
) -> None:
    made = compiled(model, shared)
    check(made, tmp_path, steps=3)


@pytest.mark.slow
@settings(
    deadline=None, derandomize=True, max_examples=6, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(training=trainings())
def test_random_trainings_read_nothing_that_was_released(
    training: Training, tmp_path_factory: pytest.TempPathFactory
) -> None:
    compiled = replace(training.compiled, name="model")
    check(compiled, tmp_path_factory.mktemp("training"), steps=4)


def small(arena: int) -> Compiled:
    """Layer by layer, or in the least memory: row by row where that is less."""
    net, output = mobile()
    plan = Plan(update=(Update(layers="last 4", bias=True, weights=0.5),))
    return compile_model(net.graph(output), name="model", plan=plan, arena=arena)


@pytest.mark.parametrize("arena", [10**6, 1], ids=["fast", "least"])
def test_a_small_network_reads_nothing_that_was_released(arena: int | None, tmp_path: Path) -> None:
    made = small(arena)
    assert made.train is not None
    assert bool(made.train.streamed) == (arena == 1)
    check(made, tmp_path, steps=6)


def test_what_is_needed_is_missed_when_it_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The poison does harm where it must not be: behind the first op, all over the arena."""
    made = small(10**6)
    whole = np.array([[0, made.infer.arena_bytes]])

    def too_much(program: object) -> tuple[list[tuple[int, Array]], Array]:
        points, before = dead_after(program)  # type: ignore[arg-type]
        return [(points[0][0], whole), *points[1:]], before

    monkeypatch.setattr("tests.support.poison.dead_after", too_much)
    program, samples = build_poisoned(made, tmp_path), noise(made, 2)
    assert run_poisoned(program, samples, True)[0] != run_poisoned(program, samples, False)[0]
