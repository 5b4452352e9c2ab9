"""tinykit train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinykit.cli import output
from tinykit.cli.options import (
    BoardName,
    Firmware,
    Json,
    Limit,
    LoadFile,
    Port,
    ProjectDir,
    SamplesFile,
    SplitName,
    TargetName,
    Verbose,
)


def train(
    samples: SamplesFile = None,
    split: SplitName = "train",
    limit: Limit = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Times over the samples.")] = 1,
    test: Annotated[
        str | None,
        typer.Option("--eval", metavar="SPLIT", help="Measure accuracy on it before and after."),
    ] = None,
    predict_first: Annotated[
        bool,
        typer.Option(
            "--predict-first",
            help="Predict each sample, then learn it without sending it again (the plan needs "
            'keep = "features" or "input").',
        ),
    ] = False,
    load: LoadFile = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Keep what was learnt here.")
    ] = None,
    project: ProjectDir = Path("."),
    board: BoardName = None,
    target: TargetName = None,
    port: Port = None,
    firmware: Firmware = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train on the device, sample by sample."""
    from tinykit.project import Project
    from tinykit.report.run import training_report

    opened = Project.open(project).override(board=board, target=target, port=port)
    chosen = opened.samples(split, samples).first(limit)
    held_out = opened.samples(test) if test else None
    before = after = None
    with opened.connect(firmware) as session:
        if load is not None:
            session.load(load)
        if held_out:
            with output.progress("evaluating", json) as progress:
                before = session.evaluate(held_out, progress)
        with output.progress("training", json) as progress:
            steps = session.train(chosen, epochs, progress, predict_first=predict_first)
        if held_out:
            with output.progress("evaluating", json) as progress:
                after = session.evaluate(held_out, progress)
        if save is not None:
            session.save(save)
    output.show(training_report(steps, before, after), json)
