"""The measurement of training: one small model end to end, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import training
from bench.measuring.gradients import pair_of
from bench.measuring.photos import CALIBRATION, CHECKED, samples_of
from bench.measuring.subject import fresh_head, network_of, plan_of, schemes
from bench.measuring.training_bars import Bar
from tests.support.networks import Network
from tinykit.build.compilers import find_compiler
from tinykit.errors import BuildError, UsageError
from tinykit.ir import Quantization, Tensor
from tinykit.targets.qemu import qemu_installed

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "gesture_personalization"
PLAN = """
[[update]]
layers = "last 3"
bias = true
[[update]]
layers = "head"
weights = 1.0
"""


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.training", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What --json prints of the watch's model with a small plan on a Cortex-M4."""
    try:
        compiler = find_compiler()
    except BuildError as error:
        pytest.skip(error.message)
    if compiler.kind != "gcc" or not qemu_installed():
        pytest.skip("needs arm-none-eabi-gcc and qemu-system-arm")
    plan = tmp_path_factory.mktemp("plan") / "small.toml"
    plan.write_text(PLAN)
    options = ("--board", "mps2_an386", "--steps", "6", "--json", "--bars")
    done = bench("--model", EXAMPLE / "model.tflite", "--plan", plan, *options)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.emulator
def test_layers_and_items_sum_to_the_totals(found: dict[str, Any]) -> None:
    layers = found["layers"]
    assert sum(layer["instructions"] for layer in layers) == found["instructions_per_step"]
    assert sum(layer["macs"] for layer in layers) == found["macs_per_step"]
    assert {layer["phase"] for layer in layers} == {"forward", "loss", "backward", "update", ""}
    for phase in ("forward", "loss", "backward", "update"):
        own = [layer for layer in layers if layer["phase"] == phase]
        assert sum(layer["instructions"] for layer in own) == found["phases"][phase]["instructions"]
        assert any(layer["instructions"] for layer in own), phase
    assert sum(found["sram_items"].values()) == found["sram_bytes"]
    assert sum(found["flash_items"].values()) == found["flash_bytes"]
    assert found["sram_items"]["stack"] > 0


@pytest.mark.emulator
def test_learning_is_right_on_the_device(found: dict[str, Any]) -> None:
    assert found["host_equals_device"] is True
    assert found["compared_steps"] == 6
    assert 0.999 <= found["min_gradient_cosine"] <= 1
    trained = {entry["tensor"] for entry in found["gradients"]}
    assert {"head/weights", "head/bias", "block4_project/bias"} <= trained
    assert len(trained) == 4
    assert found["gradient_photos"] == 20
    assert found["gradient_steps"] == 200
    assert found["zero_norm_tensors"] == []


@pytest.mark.emulator
def test_noise_does_not_move_the_sum_of_weights(found: dict[str, Any]) -> None:
    """Beside it a control that truncates, as TTE does: it must be seen to shrink."""
    assert abs(found["weight_drift"]) <= 0.01
    assert found["mean_weight_move"] >= 0.1
    assert found["truncating_weight_drift"] < -0.3
    assert [drift["tensor"] for drift in found["drifts"]] == ["head/weights"]


@pytest.mark.emulator
def test_bars_of_another_model_are_those_of_rightness(found: dict[str, Any]) -> None:
    whats = [bar["what"] for bar in found["bars"]]
    assert "instructions_per_step" not in whats  # TTE's figures are of another network
    assert {"min_gradient_cosine", "weight_drift", "host_equals_device"} <= set(whats)
    assert all(bar["met"] for bar in found["bars"])


def test_a_bar_is_a_range() -> None:
    assert Bar("x", 0.01, -0.01, 0.01, None).met
    assert not Bar("x", -0.011, -0.01, 0.01, None).met
    assert not Bar("x", 65_000_000, None, 64_000_000, None).met
    assert not Bar("x", None, None, 1, None).met


def test_gradients_are_compared_by_angle_and_length() -> None:
    true = np.array([3.0, 4.0])
    same = pair_of("w", "photo", "fresh", 2 * true, true)
    assert (same.cosine, same.ratio) == (pytest.approx(1), pytest.approx(2))
    across = pair_of("w", "photo", "fresh", np.array([-4.0, 3.0]), true)
    assert (across.cosine, across.ratio) == (pytest.approx(0), pytest.approx(1))
    lost = pair_of("w", "photo", "fresh", np.zeros(2), true)
    assert (lost.cosine, lost.ratio) == (0, 0)
    made_up = pair_of("w", "photo", "fresh", true, np.zeros(2))
    assert (made_up.cosine, made_up.ratio) == (0, None)
    zero = pair_of("w", "photo", "fresh", np.zeros(2), np.zeros(2))
    assert (zero.cosine, zero.ratio) == (None, None)


def test_a_fresh_head_is_small_seeded_and_alone() -> None:
    net = Network((1, 1, 1, 64), seed=3)
    graph = net.graph(net.dense(net.flatten("x"), 8))
    fresh, again = fresh_head(graph), fresh_head(graph)
    head = graph.ops[-1]
    weights = fresh[head.inputs[1]]
    real = weights.value * np.array(weights.quant.scale)[:, None]
    assert np.abs(real).max() <= 1 / 8 + max(weights.quant.scale)
    assert real.std() > 0.04
    assert (fresh[head.inputs[2]].value == 0).all()
    assert (weights.value == again[head.inputs[1]].value).all()
    assert (weights.value != graph[head.inputs[1]].value).any()


def test_photos_are_named_and_kept_apart(shared: Path) -> None:
    pytest.importorskip("PIL")
    if not (shared / "data" / "sign_language_digits").is_dir():
        pytest.skip("../shared has no photos")
    image = Tensor("x", (1, 32, 32, 3), "int8", Quantization.per_tensor(1 / 128))
    samples = samples_of(None, image, 10)
    assert samples.names == CHECKED
    assert samples.checked.labels == [*range(10), *range(10)]
    assert samples.checked.x.shape == (20, 32, 32, 3)
    assert len(samples.calibration.x) == CALIBRATION
    every = [*samples.checked.x, *samples.learnt.x]
    assert len({x.tobytes() for x in every}) == len(every) == 220
    assert samples.learnt.labels[:10] == [*range(10)]
    grey = samples_of(None, Tensor("x", (1, 48, 32, 1), "int8", image.quant), 2)
    assert grey.checked.x.shape == (20, 48, 32, 1)
    assert set(grey.checked.labels) == {0, 1}


def test_samples_of_other_inputs() -> None:
    image = Tensor("x", (1, 100, 6), "int8", Quantization.per_tensor(0.1))
    assert samples_of(None, image, 7).source == "noise"
    with pytest.raises(UsageError, match=r"photos do not fit an input of \[100, 6\]"):
        samples_of("photos", image, 7)


def test_published_schemes_are_found_by_the_models_file_name(shared: Path) -> None:
    model = shared / "models" / "proxyless-w0.3-10c.tflite"
    assert network_of(model) == "proxyless"
    assert len(schemes(model)) == 5
    assert plan_of("tte:74kb", model).name == "proxyless-74kb"
    with pytest.raises(UsageError, match="no schemes for kws"):
        network_of(model.with_name("kws.tflite"))


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--model", "none.tflite"], "none.tflite: no such model", 2),
        (["--all", "--plan", "x.toml"], "--all has models and plans of its own", 2),
        (["--board", "mps2_an388"], "there is no board `mps2_an388`", 2),
        (["--board", "stm32f746"], "QEMU has no machine for board stm32f746", 2),
        (["--steps", "0"], "--steps 0: at least 1 is needed", 2),
        (["--quick"], "--quick goes with --all", 2),
        (["--model", str(EXAMPLE / "model.tflite")], "schemes cannot be read (give a plan", 2),
        (["--model", "README.md", "--plan", str(EXAMPLE / "plan.toml")], "README.md", 1),
    ],
)  # fmt: skip
def test_what_is_refused(
    arguments: list[str],
    message: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not qemu_installed():
        pytest.skip("needs qemu-system-arm")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["bench.training", *arguments])
    assert training.main() == code
    said = capsys.readouterr()
    assert message in said.err.splitlines()[-1]
    assert said.err.splitlines()[-1].startswith("error: ")
    assert said.out == ""


def test_without_qemu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["bench.training"])
    assert training.main() == 1
    assert "qemu-system-arm is not installed (apt-get install" in capsys.readouterr().err
