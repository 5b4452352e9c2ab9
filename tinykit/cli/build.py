"""tinykit build"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinykit.cli import output
from tinykit.cli.options import (
    BoardName,
    Flash,
    Json,
    ModelFile,
    PlanFile,
    ProjectDir,
    Sram,
    Verbose,
)


def build(
    model: ModelFile = None,
    plan: PlanFile = None,
    board: BoardName = None,
    sram: Sram = None,
    flash: Flash = None,
    trace: Annotated[
        bool | None,
        typer.Option("--trace/--no-trace", help="Per-layer checksums, which verify needs."),
    ] = None,
    project: ProjectDir = Path("."),
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Generate, compile and link firmware for the board."""
    from tinykit.project import Project
    from tinykit.report.generated import arena_line
    from tinykit.report.size import size_report

    opened = Project.open(project, required=model is None)
    opened = opened.override(
        model=model, plan=plan, board=board, sram=sram, flash=flash, trace=trace
    )
    with output.progress("generating C", json) as progress:
        manifest = opened.generate(progress=progress)
    with output.status(f"building firmware for {opened.config.board.name}", json):
        firmware = opened.build(progress=output.note)
    memory = opened.memory(manifest)
    arena = arena_line(manifest)
    output.show(size_report(firmware.report, firmware.elf, memory, arena=arena), json)
