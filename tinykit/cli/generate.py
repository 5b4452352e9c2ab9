"""tinykit generate"""

from __future__ import annotations

from pathlib import Path

from tinykit.cli import output
from tinykit.cli.options import BoardName, Json, ModelFile, OutDir, PlanFile, ProjectDir, Verbose


def generate(
    model: ModelFile = None,
    plan: PlanFile = None,
    board: BoardName = None,
    out: OutDir = None,
    project: ProjectDir = Path("."),
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write the C code of the model and its training engine."""
    from tinykit.project import Project
    from tinykit.report.generated import generated_report

    opened = Project.open(project, required=model is None).override(
        model=model, plan=plan, board=board
    )
    with output.progress("generating C", json) as progress:
        manifest = opened.generate(out, progress=progress)
    memory = opened.memory(manifest)
    output.show(generated_report(manifest, memory, out or opened.generated_dir), json)
