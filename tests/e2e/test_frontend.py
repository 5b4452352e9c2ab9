"""Models with [frontend], through the command line: speech before a wake word, and motion before a
model that learns. The frontend on the emulated board makes the inputs that the host makes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from tests.frontend.test_audio_frontend import spoken
from tests.host.test_wake_words import model

pytestmark = pytest.mark.emulator

EXAMPLE = Path(__file__).parents[2] / "examples" / "gesture_personalization"


def tinykit(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tinykit", *arguments, "-C", str(project)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_speech_reaches_a_wake_word(shared: Path, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "speech.wav"), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes(spoken(shared)[:24000].tobytes())
    (tmp_path / "tinykit.toml").write_text(
        f'[model]\npath = "{model("okay_nabu")}"\n'
        '[frontend]\nkind = "audio"\nfeature_scale = 0.0390625\n'
    )
    built = json.loads(tinykit(tmp_path, "build", "--json"))
    assert built["sram"]["kinds"]["frontend"] == 4824
    said = tinykit(tmp_path, "verify", str(tmp_path / "speech.wav"))
    rows = 1 + (24000 - 480) // 160
    assert f"{rows // 3} inputs made of recordings by the frontend on the device" in said
    assert "0 differing bits" in said
    assert "5 inputs made of recordings" in tinykit(tmp_path, "verify")  # of noise


@pytest.mark.parametrize("target", ["unicorn", "qemu"])
def test_motion_reaches_a_model_that_learns(target: str, tmp_path: Path) -> None:
    if target == "qemu" and not shutil.which("qemu-system-arm"):
        pytest.skip("qemu-system-arm is not installed")
    shutil.copy(EXAMPLE / "model.tflite", tmp_path)
    shutil.copy(EXAMPLE / "head_only.toml", tmp_path)
    random = np.random.default_rng(3)
    x = random.normal(0, 1, (6, 150, 6)) * (300, 300, 300, 40, 40, 40)
    np.savez(tmp_path / "train.npz", x=x.astype(np.int16), y=np.arange(6))
    (tmp_path / "tinykit.toml").write_text(
        '[project]\nname = "gesture"\n[model]\npath = "model.tflite"\n'
        '[data]\ntrain = "train.npz"\n[plan]\npath = "head_only.toml"\n'
        f'[target]\nname = "{target}"\n'
        '[frontend]\nkind = "motion"\ninput_hop = 50\n'
        "mean = [1.0, 2.0, -30.0, 0.0, 0.0, 0.0]\n"
        "deviation = [300.0, 310.0, 290.0, 40.0, 41.5, 39.0]\n"
    )
    tinykit(tmp_path, "build")
    said = tinykit(tmp_path, "verify", "--steps", "14")
    assert "after 14 training steps" in said
    assert "10 inputs made of recordings by the frontend on the device" in said  # 5 recordings
    assert "0 differing bits" in said
    trained = json.loads(tinykit(tmp_path, "train", "--json"))
    assert len(trained["steps"]) == 12
