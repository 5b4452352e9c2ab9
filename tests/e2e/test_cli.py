"""A whole project through the command line: from a Keras model to a device that learnt.

The user of this project means something else by two of the four classes than the people whose data
trained the model: right answers before learning are few, and after it nearly all.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.devices.learner import flip
from tests.support.processes import heed_interrupts

pytestmark = pytest.mark.emulator

MAKE_MODEL = """
import numpy as np, keras
keras.utils.set_random_seed(1)

def samples(n, seed):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 4
    time = np.arange(24)[None, :, None] / 24
    phase = rng.uniform(0, 6.28, (n, 1, 3))
    x = np.sin(6.28 * (y[:, None, None] + 1) * time + phase) + rng.normal(0, 0.2, (n, 24, 3))
    return x.astype(np.float32), y

x, y = samples(800, 0)
model = keras.Sequential([
    keras.layers.Input((24, 3)),
    keras.layers.Conv1D(12, 7, activation="relu", padding="same"),
    keras.layers.Conv1D(16, 5, activation="relu", strides=2),
    keras.layers.GlobalAveragePooling1D(),
    keras.layers.Dense(4, activation="softmax"),
])
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
model.fit(x, y, epochs=8, batch_size=32, verbose=0)
model.save("float.keras")
np.savez("others.npz", x=x[:200], y=y[:200])
mine = np.array([1, 0, 2, 3])
for name, n, seed in (("train", 100, 1), ("test", 40, 2)):
    x, y = samples(n, seed)
    np.savez(f"{name}.npz", x=x, y=mine[y])
"""

CONFIG = """
[project]
name = "waves"
[model]
path = "waves.tflite"
[data]
train = "train.npz"
test = "test.npz"
[plan]
path = "plan.toml"
[board]
name = "mps2_an386"
[target]
name = "unicorn"
"""


def tinykit(project: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tinykit", *arguments],
        cwd=project, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def report(project: Path, *arguments: str) -> Any:
    return json.loads(tinykit(project, *arguments, "--json"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose firmware has been built; each step's report is kept beside it."""
    pytest.importorskip("keras", reason="makes the model: pip install 'tinykit-mcu[tensorflow]'")
    folder = tmp_path_factory.mktemp("waves")
    subprocess.run([sys.executable, "-c", MAKE_MODEL], cwd=folder, check=True, capture_output=True)
    (folder / "tinykit.toml").write_text(CONFIG)
    steps = {
        "quantize": ("float.keras", "--out", "waves.tflite", "--samples", "others.npz"),
        "plan": ("--write", "plan.toml"),
        "build": (),
    }
    for verb, arguments in steps.items():
        (folder / f"{verb}.json").write_text(tinykit(folder, verb, *arguments, "--json"))
    return folder


def test_quantize_reports_what_it_cost(project: Path) -> None:
    result = json.loads((project / "quantize.json").read_text())
    assert result["accuracy_float"] > 0.9
    assert abs(result["accuracy_float"] - result["accuracy_int8"]) < 0.05
    assert (project / "waves.tflite").stat().st_size == result["bytes_int8"]


def test_plan_takes_everything_where_everything_fits(project: Path) -> None:
    written = json.loads((project / "plan.json").read_text())
    assert all(layer["weights"] for layer in written["layers"])
    checked = report(project, "plan")
    assert checked["layers"] == written["layers"]
    assert "exists" in tinykit(project, "plan", "--write", "plan.toml", code=1)


def test_a_searched_plan_fits_and_is_the_same_again(project: Path) -> None:
    whole = report(project, "plan")["bounds"]["sram_total"]
    budget = ("--sram", str(whole - 400))
    found = report(project, "plan", "--search", *budget, "--write", "searched.toml")
    assert found["search"]["sram"] <= whole - 400
    assert 0 < found["search"]["contribution"] < 1
    assert found["bounds"]["sram_total"] <= whole - 400
    again = report(project, "plan", "--search", *budget, "--write", "again.toml")
    assert again["plan"]["update"] == found["plan"]["update"]
    assert "exists" in tinykit(
        project, "plan", "--search", *budget, "--write", "searched.toml", code=1
    )
    few = ("--latency", "10", "--write", "few.toml")
    assert "not even the last layer" in tinykit(project, "plan", "--search", *few, code=1)
    assert "--search" in tinykit(project, "plan", "--latency", "10", code=2)


def test_size_is_what_build_said_and_what_the_plan_said(project: Path) -> None:
    built, size = json.loads((project / "build.json").read_text()), report(project, "size")
    planned = report(project, "plan")
    for memory in ("sram", "flash"):
        kinds = size[memory]["kinds"]
        assert kinds == built[memory]["kinds"]
        assert sum(kinds.values()) == size[memory]["bytes"] <= size[memory]["budget"]
        assert sum(item["bytes"] for item in size[memory]["items"]) == size[memory]["bytes"]
        for kind, count in planned[memory].items():
            assert kinds.get(kind, 0) == count
    assert "every item" in tinykit(project, "size", "--items", "--picture", "memory.svg")
    assert "arena" in (project / "memory.svg").read_text()


def test_training_on_the_device_teaches_it_the_users_classes(project: Path) -> None:
    arguments = ("--eval", "test", "--epochs", "2", "--save", "learnt.bin", "--log", "log")
    result = report(project, "train", *arguments)
    assert result["before"]["accuracy"] < 0.6
    assert result["after"]["accuracy"] > 0.85
    assert len(result["steps"]) == 200
    with (project / "log" / "steps.csv").open() as file:
        logged = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in logged] == [step["loss"] for step in result["steps"]]
    assert [row["step"] for row in logged] == [str(n) for n in range(1, 201)]
    assert all(int(row["instructions"]) > 1000 for row in logged)
    assert all(any(float(row[key]) > 0 for row in logged) for key in logged[0] if "/" in key)
    assert list((project / "log").glob("*tfevents*"))
    message = tinykit(project, "train", "--log", "log", code=2)
    assert "exists" in message
    assert "Traceback" not in message
    # a fresh device knows nothing of it, until what was learnt is loaded
    fresh = report(project, "eval")
    assert fresh["accuracy"] == result["before"]["accuracy"]
    loaded = report(project, "eval", "--load", "learnt.bin")
    assert loaded["accuracy"] == result["after"]["accuracy"]
    predictions = report(project, "infer", "--load", "learnt.bin", "-n", "5")["samples"]
    assert len(predictions) == 5
    assert all(abs(sum(sample["outputs"]) - 1) < 0.05 for sample in predictions)


def test_saved_parameters_of_something_else_are_refused(project: Path) -> None:
    (project / "other.bin").write_bytes(b"not this model's")
    message = tinykit(project, "eval", "--load", "other.bin", code=1)
    assert message.startswith("error: ")
    assert "Traceback" not in message


def test_verify_finds_no_difference(project: Path) -> None:
    result = report(project, "verify", "--steps", "60")
    assert result["equal"]
    assert (result["steps"], result["traced"], result["difference"]) == (60, True, None)
    assert sum(tensor["bits"] for tensor in result["tensors"]) > 10_000
    assert "0 differing bits" in tinykit(project, "verify", "--steps", "2")


def test_verify_names_the_layer_of_one_altered_byte(project: Path) -> None:
    symbols = json.loads((project / "build" / "generated" / "model.json").read_text())["symbols"]
    initial = next(name for name, item in symbols.items() if item == "initial parameters")
    built = project / "build" / "firmware" / "mps2_an386" / "firmware.elf"
    flip(built, initial, 5, project / "altered.elf")
    message = tinykit(project, "verify", "--firmware", "altered.elf", code=1)
    assert message.startswith("error: device and host reference differ first in layer '")
    done = subprocess.run(
        [sys.executable, "-m", "tinykit", "verify", "--firmware", "altered.elf", "--json"],
        cwd=project, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert json.loads(done.stdout)["difference"]["location"]["layer"] in message


def test_run_keeps_a_port_that_other_verbs_use(project: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "tinykit", "run"], cwd=project, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"}, preexec_fn=heed_interrupts,
    )  # fmt: skip
    try:
        assert running.stdout is not None
        url = re.findall(r"--port (\S+)", running.stdout.readline())[0]
        first = report(project, "train", "--port", url, "-n", "20")
        # the same device, so what it learnt is still there: its steps go on counting
        again = report(project, "train", "--port", url, "-n", "20")
        assert [s["loss"] for s in first["steps"]] != [s["loss"] for s in again["steps"]]
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=20) == 0


def test_firmware_of_another_model_is_refused(project: Path) -> None:
    (project / "head.toml").write_text('[[update]]\nlayers = "head"\nweights = 1.0\n')
    tinykit(project, "generate", "--plan", "head.toml")
    try:
        message = tinykit(project, "eval", code=1)
        assert "holds model 'waves'" in message
        assert "hint:" in message
    finally:
        tinykit(project, "generate")


def test_a_budget_that_is_too_small_is_refused_before_compiling(project: Path) -> None:
    message = tinykit(project, "build", "--sram", "1KB", code=1)
    assert "SRAM" in message
    assert "1,024" in message
