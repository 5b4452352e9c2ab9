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
    search: Annotated[
        bool, typer.Option("--search", help="Search the best plan for your data that fits.")
    ] = False,
    latency: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="With --search: instructions of a step at most."),
    ] = None,
    seed: Annotated[int, typer.Option(help="With --search: of its random choices.")] = 0,
    resample: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="SEED", help="Write the plan with other channels of the same number."
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="Draw SRAM against instructions."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="With --search: draw contribution and SRAM."),
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
    from tinykit.errors import UsageError
    from tinykit.project import Project
    from tinykit.report.curve import Curve, draw_curve
    from tinykit.report.generated import plan_report
    from tinykit.report.picture import check_drawing
    from tinykit.report.search import draw_search

    opened = Project.open(project, required=model is None)
    opened = opened.override(model=model, plan=plan_file, board=board, sram=sram, flash=flash)
    if latency is not None and not search:
        raise UsageError("--latency goes with --search")
    if plot is not None and not search:
        raise UsageError("--plot goes with --search; --picture draws the schedules of a plan")
    if plot is not None:
        check_drawing()
    if resample is not None and (search or write is None):
        raise UsageError("--resample goes with --write FILE, not with --search")
    found, fixed = None, list[str]()
    if resample is not None and write is not None:
        opened, fixed = opened.with_resampled_plan(write, resample)
    elif search:
        write = write or opened.root / f"plan-{opened.board().sram // 1024}KB.toml"
        with output.progress("searching a plan", json) as progress:
            opened, found = opened.with_searched_plan(write, latency, seed, progress)
        if plot is not None:
            draw_search(found, opened.board().sram, plot, f"{opened.name}: plans searched")
    elif write is not None:
        with output.progress("trying plans", json) as progress:
            opened = opened.with_default_plan(write, progress)
    with output.status("planning memory", json):
        manifest = opened.preview()
        memory = opened.memory(manifest)
        curve = Curve.of(opened.curve(), memory)
    graph = opened.graph()
    output.show(
        plan_report(graph, opened.plan(), manifest, memory, write, curve, found, fixed), json
    )
    if picture is not None:
        draw_curve(curve, picture, f"{opened.name} on {opened.board().name}")
