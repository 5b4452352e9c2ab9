"""tinykit new"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinykit.cli import output
from tinykit.cli.options import Json, Verbose


def new(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Folder to make.", show_default=False)
    ] = None,
    example: Annotated[
        str, typer.Option("--example", "-e", metavar="NAME", help="Example to start from.")
    ] = "gesture_personalization",
    list_examples: Annotated[bool, typer.Option("--list", help="List the examples.")] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make a project folder from an example; nothing is overwritten."""
    from tinykit.errors import UsageError
    from tinykit.report.project import examples_report, new_report
    from tinykit.scaffold import examples, new_project

    if list_examples:
        output.show(examples_report(examples()), json)
        return
    if directory is None:
        raise UsageError("no folder given", "tinykit new DIR   (--list shows the examples)")
    output.show(new_report(directory, new_project(directory, example)), json)
