"""tinykit doctor"""

from __future__ import annotations

import typer

from tinykit.cli import output
from tinykit.cli.options import Json, Verbose


def doctor(json: Json = False, verbose: Verbose = False) -> None:
    """Tell what is installed and how to get the rest."""
    from tinykit.doctor import diagnose
    from tinykit.report.doctor import doctor_report

    with output.status("looking at this machine", json):
        diagnosis = diagnose()
    output.show(doctor_report(diagnosis), json)
    if not diagnosis.ready:
        raise typer.Exit(1)
