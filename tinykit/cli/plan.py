"""tinykit plan"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinykit.cli import output
from tinykit.cli.options import BoardName, Flash, Json, ModelFile, ProjectDir, Sram, Verbose


def plan(
    plan_file: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", help="Plan to check instead of the project's."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="FILE", help="Write the largest simple plan that fits."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="Draw SRAM against instructions."),
    ] = None,
    model: ModelFile = None,
    sram: Sram = None,
    flash: Flash = None,
    project: ProjectDir = Path("."),
    board: BoardName = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Check what learns and what it costs, or write a plan."""
    from tinykit.project import Project
    from tinykit.report.curve import Curve, draw_curve
    from tinykit.report.generated import plan_report

    opened = Project.open(project, required=model is None)
    opened = opened.override(model=model, plan=plan_file, board=board, sram=sram, flash=flash)
    if write is not None:
        with output.progress("trying plans", json) as progress:
            opened = opened.with_default_plan(write, progress)
    with output.status("planning memory", json):
        manifest = opened.preview()
        memory = opened.memory(manifest)
        curve = Curve.of(opened.curve(), memory)
    graph = opened.graph()
    output.show(plan_report(graph, opened.plan(), manifest, memory, write, curve), json)
    if picture is not None:
        draw_curve(curve, picture, f"{opened.name} on {opened.board().name}")
