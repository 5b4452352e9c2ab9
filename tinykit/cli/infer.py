"""tinykit infer"""

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


def infer(
    samples: SamplesFile = None,
    split: SplitName = "test",
    limit: Limit = 10,
    load: LoadFile = None,
    project: ProjectDir = Path("."),
    board: BoardName = None,
    target: TargetName = None,
    port: Port = None,
    firmware: Firmware = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Predict classes of samples on the device."""
    from tinykit.project import Project
    from tinykit.report.run import inference_report

    opened = Project.open(project).override(board=board, target=target, port=port)
    chosen = opened.samples(split, samples).first(limit)
    with opened.connect(firmware) as session, output.progress("inferring", json) as progress:
        if load is not None:
            session.load(load)
        results = session.infer(chosen, progress)
        manifest = session.manifest
    report = inference_report(results, manifest.class_names, manifest.outputs)
    output.show(report, json)
