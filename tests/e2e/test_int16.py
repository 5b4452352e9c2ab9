"""An int16x8 model through the command line: quantized, built, run on an emulated board."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.test_cli import CONFIG, MAKE_MODEL, tinykit
from tests.support.goldens import tflm

pytestmark = pytest.mark.emulator


def test_int16_on_the_device(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="makes the model: pip install 'tinykit-mcu[tensorflow]'")
    subprocess.run([sys.executable, "-c", MAKE_MODEL], cwd=tmp_path, check=True)
    (tmp_path / "plan.toml").write_text('[[update]]\nlayers = "head"\nbias = true\nweights = 1.0\n')
    infers = CONFIG.replace('[plan]\npath = "plan.toml"\n', "")
    if shutil.which("qemu-system-arm"):
        infers = infers.replace('"unicorn"', '"qemu"')
    (tmp_path / "tinykit.toml").write_text(infers)
    command = ("quantize", "float.keras", "--int16", "--out", "waves.tflite", "--samples")
    said = json.loads(tinykit(tmp_path, *command, "others.npz", "--json"))
    assert said["activations"] == "int16"
    assert said["agreement"] > 0.99
    assert min(layer["signal_to_noise"] for layer in said["layers"]) > 40  # dB; int8 has some 25
    refused = tinykit(tmp_path, "build", "--plan", "plan.toml", code=1)
    assert "has int16 activations: such a model infers, it cannot learn" in refused
    tinykit(tmp_path, "build")
    assert "0 differing bits" in tinykit(tmp_path, "verify")

    x = np.load(tmp_path / "test.npz")["x"][:3]
    np.save(tmp_path / "some.npy", x)
    results = json.loads(tinykit(tmp_path, "infer", "some.npy", "--json"))
    model = json.loads((tmp_path / "build" / "generated" / "model.json").read_text())
    scale, unit = (np.float32(model[port]["scale"]) for port in ("input", "output"))
    for sample, result in zip(x, results["samples"], strict=True):
        codes = np.clip(np.rint(sample / scale), -32768, 32767).astype(np.int16)[None]
        expected = tflm((tmp_path / "waves.tflite").read_bytes(), codes)
        np.testing.assert_array_equal(np.float32(result["outputs"]), expected.ravel() * unit)
