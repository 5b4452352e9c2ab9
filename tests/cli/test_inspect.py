"""tinykit inspect and boards on the MLPerf Tiny reference models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinykit.cli.app import run

# Multiply-accumulates as published with the MLPerf Tiny models (ANCHORS.md), and raw parameters
MODELS = {
    "kws_ref_model.tflite": (2_656_768, 12),
    "pretrainedResnet_quant.tflite": (12_501_632, 10),
    "vww_96_int8.tflite": (7_489_664, 2),
    "ad01_int8.tflite": (264_192, 640),
}


@pytest.mark.parametrize("name", MODELS)
def test_costs_of_reference_models(
    name: str, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(shared / "models" / "mlperf_tiny" / name), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    macs, outputs = MODELS[name]
    assert report["file"]["macs"] == macs
    assert report["macs"] == sum(layer["macs"] for layer in report["layers"])
    for total, key in (("macs", "macs"), ("flash", "flash")):
        assert report[total] == report["file"][key] - sum(p[key] for p in report["passes"])
    assert len(report["layers"]) == report["file"]["ops"] - sum(p["ops"] for p in report["passes"])
    assert report["outputs"][0]["shape"][-1] == outputs
    assert report["arena"] >= report["arena_bound"] >= max(x["live"] for x in report["layers"])
    needs = {board["board"]: board for board in report["boards"]}
    assert needs["stm32f746"]["fits"]
    assert needs["stm32f746"]["sram"] > report["arena"]
    assert needs["stm32f746"]["flash"] > report["flash"]


def test_what_passes_take_away_is_shown(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(shared / "models" / "mlperf_tiny" / "vww_96_int8.tflite")
    assert run(["inspect", model, "--json"]) == 0
    effects = {effect["pass"]: effect for effect in json.loads(capsys.readouterr().out)["passes"]}
    assert effects["fold_channels"]["macs"] > 3_600_000
    assert effects["fold_channels"]["flash"] > 180_000
    assert not any(e["ops"] == e["macs"] == e["flash"] == 0 for e in effects.values())
    assert run(["inspect", model]) == 0
    assert "fold channels" in capsys.readouterr().out


def test_layers_are_shown_with_their_totals(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shared / "models" / "mlperf_tiny" / "kws_ref_model.tflite"
    assert run(["inspect", str(model)]) == 0
    text = capsys.readouterr().out
    for part in ("depthwise_conv2d", "1×25×5×64", "0.584703 @ 83", "2,656,768", "netduinoplus2"):
        assert part in text


def test_what_a_projects_plan_lets_learn(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Adapters and residual modules too, which the model's file does not have."""
    model = shared / "models" / "mlperf_tiny" / "kws_ref_model.tflite"
    (tmp_path / "tinykit.toml").write_text(
        f'[model]\npath = "{model}"\n[plan]\npath = "plan.toml"\n'
    )
    (tmp_path / "plan.toml").write_text(
        "[[update]]\nlayers = [4]\nrank = 2\n[[update]]\nlayers = [6]\nresidual = {over = 2}\n"
        '[[update]]\nlayers = "head"\nbias = true\n'
    )
    assert run(["inspect", "-C", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    learns = {row["layer"]: row for row in report["learning"] if row["bias"] or row["channels"]}
    names = sorted(name.rpartition("/")[2] for name in learns if "/" in name)
    assert names == ["depthwise", "down", "up", "up"]
    (down,) = (row for name, row in learns.items() if name.endswith("/down"))
    assert (down["channels"], down["weights"]) == (64, 2 * 64)
    assert [row["bias"] for row in learns.values()].count(True) == 1
    assert run(["inspect", "-C", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "What learns" in text
    assert all(name in text for name in learns)
    assert run(["inspect", "-C", str(tmp_path), str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["learning"] is None


@pytest.mark.parametrize("size", [0, 3, 100, 5_000, 50_000])
def test_truncated_models_are_an_error_line(
    size: int, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (shared / "models" / "mlperf_tiny" / "kws_ref_model.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(whole[:size])
    assert run(["inspect", str(tmp_path / "cut.tflite")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {tmp_path}/cut.tflite: ")


def test_boards(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["boards", "--json"]) == 0
    boards = {board["name"]: board for board in json.loads(capsys.readouterr().out)["boards"]}
    assert boards["stm32f746"]["sram"] == 320 * 1024
    assert boards["mps2_an386"]["sram"] == 256 * 1024
    assert "serial" in boards["stm32f746"]["targets"]
    assert "serial" not in boards["mps2_an386"]["targets"]
    assert run(["boards", "stm32f764"]) == 2
    assert "did you mean `stm32f746`?" in capsys.readouterr().err
