"""Reports: complete as data, readable in a pipe, never cut."""

from __future__ import annotations

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from tinykit.report import Column, Report, Table
from tinykit.report.picture import MemoryBar, draw_memory
from tinykit.report.run import accuracy_report, inference_report, training_report
from tinykit.report.search import draw_search, search_table
from tinykit.session import Accuracy, Inference, TrainedStep
from tinykit.training.plan import head_only
from tinykit.training.search import Cost, Found, Tried


def _printed(report: Report) -> str:
    out = io.StringIO()
    report.print(Console(file=out, width=80))
    return out.getvalue()


def test_long_cells_are_not_cut_in_a_pipe() -> None:
    long = "word " * 60 + "[not markup]"
    text = _printed(Report({}, (Table((Column("a"), Column("b")), (("x", long),)),)))
    assert long in text


def test_accuracy_counts_per_class_and_names_the_confusion() -> None:
    report = accuracy_report(Accuracy(predictions=(0, 1, 1, 2, 2), labels=(0, 0, 0, 2, 1)))
    data = json.loads(json.dumps(report.data))
    assert (data["samples"], data["correct"], data["accuracy"]) == (5, 2, 0.4)
    assert data["classes"][0] == {"class": 0, "samples": 3, "correct": 1, "taken_for": 1}
    assert data["classes"][2]["taken_for"] is None
    assert "40.0 % (2 of 5 samples)" in _printed(report)


def test_training_report_keeps_every_step_as_data_and_stretches_for_people() -> None:
    steps = [TrainedStep(0, i % 2, 2.0 if i < 50 else 1.0, 3, 2, 7, i // 10) for i in range(100)]
    report = training_report(steps, Accuracy((0,), (1,)), Accuracy((1,), (1,)))
    data = json.loads(json.dumps(report.data))
    assert len(data["steps"]) == 100
    assert (data["before"]["accuracy"], data["after"]["accuracy"]) == (0.0, 1.0)
    text = _printed(report)
    assert "1 to 5 " in text
    assert "2.0000" in text
    assert "1.0000" in text
    assert "3 saturated gradients, 2 skipped; the guard went back 9 times" in text
    assert text.index("0.0 % (0 of 1") < text.index("100.0 % (1 of 1")


def test_inference_report_gives_outputs_in_real_units() -> None:
    report = inference_report([Inference(np.array([0.25, 0.75], np.float32), None)])
    assert json.loads(json.dumps(report.data))["samples"] == [
        {"prediction": 1, "label": None, "outputs": [0.25, 0.75]}
    ]


def test_a_search_is_drawn_with_every_candidate(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    tried = tuple(Tried(0.1 * n, Cost(40_000 + 999 * n, 1, 1), 0.5) for n in range(1, 6))
    found = Found(head_only(), tried[2].contribution, tried[2].cost, tried)
    draw_search(found, 44_000, tmp_path / "a.svg", "gesture")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    groups = {group.get("id"): group for group in root.findall(".//{*}g")}
    points, chosen = (
        [
            (float(use.get("x", "")), float(use.get("y", "")))
            for use in groups[name].findall(".//{*}use")
        ]
        for name in ("points", "chosen")
    )
    assert len(points) == len(tried)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)  # down in an SVG
    assert chosen == [points[2]]
    text = "".join(root.itertext())
    assert "chosen: 42,997 B" in text
    assert "budget: 44,000 B" in text
    rows = search_table(found).rows
    assert [row[-1] for row in rows] == ["", "", "chosen", "", ""]
    assert [row[1] for row in rows] == [f"{item.cost.sram:,}" for item in tried]


def test_picture_names_every_item_and_is_the_same_every_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bar = MemoryBar("SRAM", {"arena": 49152, "parameters": 12000}, 262144)
    draw_memory([bar], tmp_path / "a.svg", "gesture")
    draw_memory([bar], tmp_path / "b.svg", "gesture")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    for part in (
        "gesture",
        "61,152 of 262,144 B (23.3 %)",
        "arena  49,152 B",
        "parameters  12,000 B",
    ):
        assert part in text
