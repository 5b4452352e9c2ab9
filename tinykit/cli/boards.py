"""tinykit boards"""

from __future__ import annotations

from typing import Annotated

import typer

from tinykit.cli import output
from tinykit.cli.options import Json, Verbose


def boards(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Tell all about this one.", show_default=False),
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List the boards and where their firmware runs."""
    from tinykit.boards import list_boards, load_board
    from tinykit.report.boards import boards_report

    output.show(boards_report([load_board(name)] if name else list_boards()), json)
