"""tinykit train"""

from __future__ import annotations

from contextlib import ExitStack
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
    log: Annotated[
        Path | None,
        typer.Option(
            "--log", metavar="DIR", help="Write every step to DIR: steps.csv, and for TensorBoard."
        ),
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
    from tinykit.telemetry import StepLog

    opened = Project.open(project).override(board=board, target=target, port=port)
    chosen = opened.samples(split, samples).first(limit)
    held_out = opened.samples(test) if test else None
    before = after = None
    with ExitStack() as stack:
        written = None if log is None else stack.enter_context(StepLog(log, opened.manifest()))
        session = stack.enter_context(opened.connect(firmware, count=log is not None))
        if load is not None:
            session.load(load)
        if held_out:
            with output.progress("evaluating", json) as progress:
                before = session.evaluate(held_out, progress)
        with output.progress("training", json) as progress:
            steps = session.train(chosen, epochs, progress, written, predict_first=predict_first)
        if held_out:
            with output.progress("evaluating", json) as progress:
                after = session.evaluate(held_out, progress)
        if save is not None:
            session.save(save)
    output.show(training_report(steps, before, after), json)
