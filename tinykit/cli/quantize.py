"""tinykit quantize"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinykit.cli import output
from tinykit.cli.options import Json, ProjectDir, Verbose


def quantize(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Float model: .keras or .h5.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="[default: MODEL with .tflite]"),
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option("--samples", metavar="FILE", help=".npz, .npy or .csv instead of [data]."),
    ] = None,
    project: ProjectDir = Path("."),
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make a full int8 .tflite of a float model."""
    from tinykit.project import Project
    from tinykit.report.quantization import quantization_report

    opened = Project.open(project, required=samples is None)
    with output.status(f"quantizing {model} (TensorFlow takes a while to start)", json):
        result = opened.quantize(model, out or model.with_suffix(".tflite"), samples)
    output.show(quantization_report(result), json)
