"""tinykit flash"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinykit.cli import output
from tinykit.cli.options import BoardName, Firmware, Json, ProjectDir, Verbose


def flash(
    drive: Annotated[
        Path | None,
        typer.Option("--drive", metavar="DIR", help="The board's USB drive, instead of a probe."),
    ] = None,
    probe: Annotated[
        str | None, typer.Option("--probe", metavar="ID", help="Serial number of the probe.")
    ] = None,
    project: ProjectDir = Path("."),
    board: BoardName = None,
    firmware: Firmware = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Put the firmware on a real board."""
    from tinykit.flash import flash_to_drive, flash_with_probe
    from tinykit.project import Project
    from tinykit.report import Report

    opened = Project.open(project).override(board=board)
    elf = firmware or opened.elf
    with output.status("flashing", json):
        done = flash_to_drive(elf, drive) if drive else flash_with_probe(elf, opened.board(), probe)
    output.show(Report({"done": done}, (done,)), json)
