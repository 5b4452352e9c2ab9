"""tinykit eval"""

from __future__ import annotations

from pathlib import Path

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


def evaluate(
    samples: SamplesFile = None,
    split: SplitName = "test",
    limit: Limit = None,
    load: LoadFile = None,
    project: ProjectDir = Path("."),
    board: BoardName = None,
    target: TargetName = None,
    port: Port = None,
    firmware: Firmware = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Measure accuracy on the device."""
    from tinykit.project import Project
    from tinykit.report.run import accuracy_report

    opened = Project.open(project).override(board=board, target=target, port=port)
    chosen = opened.samples(split, samples).first(limit)
    with opened.connect(firmware) as session, output.progress("evaluating", json) as progress:
        if load is not None:
            session.load(load)
        accuracy = session.evaluate(chosen, progress)
        names = session.manifest.class_names
    output.show(accuracy_report(accuracy, names), json)
