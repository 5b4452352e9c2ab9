"""tinykit quantize"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinykit.cli import output
from tinykit.cli.options import Json, ProjectDir, Verbose


def quantize(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="Float model: .keras, .h5, .onnx, .skops."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="[default: MODEL.tflite, _int8.onnx, .tinykit]"
        ),
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option("--samples", metavar="FILE", help=".npz, .npy or .csv instead of [data]."),
    ] = None,
    unpickle: Annotated[
        bool,
        typer.Option("--unpickle", help="Open .joblib and .pkl files, which run code, too."),
    ] = False,
    int16: Annotated[
        bool,
        typer.Option("--int16", help="Activations of int16 (int16x8), for inference only. Keras."),
    ] = False,
    project: ProjectDir = Path("."),
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make int8 of a float model of Keras, ONNX or scikit-learn."""
    from tinykit.importers.sklearn import SUFFIXES
    from tinykit.project import Project
    from tinykit.report.quantization import quantization_report

    opened = Project.open(project, required=samples is None)
    suffix = model.suffix.lower()
    ours, onnx = suffix in SUFFIXES, suffix == ".onnx"
    wait = "" if ours or onnx else " (TensorFlow takes a while to start)"
    with output.status(f"quantizing {model}{wait}", json):
        made = model.with_suffix(".tinykit" if ours else ".tflite")
        made = model.with_name(f"{model.stem}_int8.onnx") if onnx else made
        result = opened.quantize(model, out or made, samples, unpickle, int16)
    output.show(quantization_report(result), json)
