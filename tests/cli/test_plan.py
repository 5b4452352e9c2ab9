"""`tinykit plan`: what runs row by row under a budget, as table, picture and data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinykit.cli.app import run


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run(["plan", *arguments, "--board", "mps2_an386", "--json"]) == 0
    report: dict[str, object] = json.loads(capsys.readouterr().out)
    return report


def test_a_budget_buys_speed(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a model that only infers, without any project."""
    model = str(shared / "models" / "mlperf_tiny" / "pretrainedResnet_quant.tflite")
    picture = tmp_path / "curve.svg"
    small = planned(capsys, model, "--picture", str(picture))
    assert "chosen" in picture.read_text()
    large = planned(capsys, model, "--sram", "40KB")
    between = planned(capsys, model, "--sram", "28KB")
    assert small["segments"] and between["segments"] and not large["segments"]  # noqa: PT018
    points = small["curve"]
    assert isinstance(points, list)
    arenas = [point["arena"] for point in points]
    costs = [point["instructions"] for point in points]
    assert arenas == sorted(arenas, reverse=True)
    assert costs == sorted(costs)
    for report, budget in ((large, 40 * 1024), (between, 28 * 1024)):
        bounds = report["bounds"]
        assert isinstance(bounds, dict)
        assert bounds["sram_total"] <= budget


def test_segments_are_told_to_people(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = shared / "models" / "mlperf_tiny" / "kws_ref_model.tflite"
    assert run(["plan", str(model), "--board", "mps2_an386"]) == 0
    text = capsys.readouterr().out
    assert "Segments that run row by row" in text
    assert "liveness bound" in text
    assert "SRAM against instructions" in text
