"""tinykit verify"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinykit.cli import output
from tinykit.cli.options import (
    BoardName,
    Firmware,
    Json,
    Port,
    ProjectDir,
    SamplesFile,
    TargetName,
    Verbose,
)


def verify(
    samples: SamplesFile = None,
    steps: Annotated[int, typer.Option("--steps", min=0, help="Training steps.")] = 200,
    inferences: Annotated[
        int, typer.Option("--inferences", min=1, help="Inferences, before and after.")
    ] = 10,
    project: ProjectDir = Path("."),
    board: BoardName = None,
    target: TargetName = None,
    port: Port = None,
    firmware: Firmware = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compare the device with the host, bit for bit."""
    from tinykit.project import Project
    from tinykit.report.verification import verification_report

    opened = Project.open(project).override(board=board, target=target, port=port)
    with opened.connect(firmware) as session, output.progress("verifying", json) as progress:
        result = session.verify(
            opened.reference(),
            opened.verification_samples(samples),
            steps=steps,
            inferences=inferences,
            recordings=opened.verification_recordings(samples),
            stop=not json,
            progress=progress,
        )
    output.show(verification_report(result), json)
    if not result.equal:
        raise typer.Exit(1)
