"""tinykit size"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinykit.cli import output
from tinykit.cli.options import BoardName, Firmware, Json, ProjectDir, Verbose


def size(
    items: Annotated[bool, typer.Option("--items", help="Name every function and array.")] = False,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Draw it, .svg or .png.")
    ] = None,
    project: ProjectDir = Path("."),
    board: BoardName = None,
    firmware: Firmware = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show where every byte of the firmware goes."""
    from tinykit.project import Project
    from tinykit.report.picture import draw_memory
    from tinykit.report.size import size_bars, size_report

    opened = Project.open(project).override(board=board)
    elf = firmware or opened.elf
    sizes = opened.size(elf)
    memory = opened.memory(opened.manifest())
    output.show(size_report(sizes, elf, memory, every_item=items), json)
    if picture is not None:
        draw_memory(size_bars(sizes), picture, f"{opened.name} on {opened.board().name}")
