"""tinykit run"""

from __future__ import annotations

from pathlib import Path

from tinykit.cli import output
from tinykit.cli.options import (
    BoardName,
    Firmware,
    Json,
    ProjectDir,
    TargetName,
    Verbose,
)


def run(
    project: ProjectDir = Path("."),
    board: BoardName = None,
    target: TargetName = None,
    firmware: Firmware = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Start the firmware and keep its port open."""
    from tinykit.project import Project
    from tinykit.report.run import running_report
    from tinykit.targets import serve

    opened = Project.open(project).override(board=board, target=target).start(firmware)
    serve(opened, lambda url: output.show(running_report(url), json))
