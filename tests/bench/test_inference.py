"""The measurement of inference: its sums, its samples, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.measuring.anchors import BARS, cmsis_nn, verdicts
from bench.measuring.inference import Measured, measure
from bench.measuring.models import MLPERF_TINY, samples_for
from tinykit.boards import load_board
from tinykit.build.compilers import find_compiler
from tinykit.errors import BuildError
from tinykit.targets.qemu import qemu_installed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def kws(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    pytest.importorskip("tflite_micro", reason="pip install tflite-micro")
    try:
        compiler = find_compiler()
    except BuildError as error:
        pytest.skip(error.message)
    if compiler.kind != "gcc" or not qemu_installed():
        pytest.skip("needs arm-none-eabi-gcc and qemu-system-arm")
    path = shared / "models" / MLPERF_TINY["kws"]
    return measure(path, load_board("mps2_an386"), tmp_path_factory.mktemp("kws"), name="kws")


@pytest.mark.emulator
def test_layers_sum_to_the_total(kws: Measured) -> None:
    assert sum(layer.instructions for layer in kws.layers) == kws.instructions
    assert kws.cycles is not None
    assert sum(layer.cycles or 0 for layer in kws.layers) == kws.cycles
    assert sum(executed for executed, _ in kws.histogram.values()) == kws.instructions
    assert sum(cycles for _, cycles in kws.histogram.values()) == kws.cycles
    assert sum(layer.macs for layer in kws.layers) == kws.macs_left
    assert kws.cycles > kws.instructions
    for layer in kws.layers:
        # SMLAD does two MACs an instruction; windows over the border do less than is counted
        assert layer.instructions >= layer.macs / 4, layer.name


@pytest.mark.emulator
def test_outputs_are_exact_and_memory_adds_up(kws: Measured) -> None:
    assert kws.exact
    assert kws.macs == 2_656_768  # of the reference model
    memory = kws.memory
    assert memory.flash_weights >= 24_368 - 64  # the raw parameters
    assert memory.sram < memory.firmware_sram
    assert memory.stack > 0
    assert any("-mcpu=cortex-m4" in flags and "-O" in flags for flags in kws.flags)


@pytest.mark.emulator
def test_every_input_takes_the_same_instructions(kws: Measured) -> None:
    """Softmax included: where the core saturates by an instruction, nothing depends on data."""
    assert len(kws.samples) >= 7
    assert kws.spread == 0, kws.samples
    assert kws.worst == kws.instructions


@pytest.mark.emulator
def test_bars_are_held_against_what_was_found(kws: Measured) -> None:
    found = {verdict.what: verdict for verdict in verdicts("cortex-m4", [kws])}
    assert found["instructions"].found == kws.instructions
    assert found["instructions"].met == (kws.instructions <= 5_100_000)
    assert found["sram_bytes"].found == kws.memory.sram


def test_every_bar_has_a_figure_for_every_model() -> None:
    for bar in BARS:
        assert len(bar.most) == len(MLPERF_TINY)
        assert bar.aim is None or all(a <= m for a, m in zip(bar.aim, bar.most, strict=True))
        assert cmsis_nn(bar.core, "vww") is not None
    assert cmsis_nn("cortex-m4", "unheard of") is None


def test_samples_differ_and_repeat() -> None:
    samples = samples_for((4, 5, 1))
    assert all(sample.dtype == np.int8 and sample.shape == (4, 5, 1) for sample in samples)
    assert len({sample.tobytes() for sample in samples}) == len(samples)
    assert [s.tobytes() for s in samples] == [s.tobytes() for s in samples_for((4, 5, 1))]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--model", "none.tflite"], "none.tflite: no such model", 2),
        (["--board", "mps2_an388"], "there is no board `mps2_an388`", 2),
        (["--board", "stm32f746"], "QEMU has no machine for board stm32f746", 2),
        (["--model", "README.md"], "README.md", 1),
    ],
)
def test_what_is_refused(arguments: list[str], message: str, code: int) -> None:
    command = [sys.executable, "-m", "bench.inference", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_without_qemu() -> None:
    command = [sys.executable, "-m", "bench.inference"]
    done = subprocess.run(
        command, cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "qemu-system-arm is not installed (apt-get install" in done.stderr
