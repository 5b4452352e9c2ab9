"""tinykit inspect"""

from __future__ import annotations

from pathlib import Path

from tinykit.cli import output
from tinykit.cli.options import Json, ModelFile, ProjectDir, Verbose


def inspect(
    model: ModelFile = None,
    project: ProjectDir = Path("."),
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show a model's layers, cost, memory, plan, and boards it fits."""
    from tinykit.project import Project
    from tinykit.report.generated import learning_parts
    from tinykit.report.model import inspect_report

    opened = Project.open(project, required=model is None).override(model=model)
    with output.status("reading the model", json):
        learns = frozenset[str]() if model else opened.learning_layers()
        memory = opened.memory_on_boards(learns=model is None)
        plan = None if model else opened.plan()
        learning = None if plan is None else learning_parts(opened.graph(), plan)
        report = inspect_report(opened.imported(), memory, learns, learning)
    output.show(report, json)
