"""Options that several verbs share: the same name and the same words everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinykit.cli.output import set_verbose
from tinykit.units import parse_bytes

Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", callback=set_verbose, help="Say more; show tracebacks.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
ProjectDir = Annotated[
    Path, typer.Option("--project", "-C", metavar="DIR", help="Folder that holds tinykit.toml.")
]
BoardName = Annotated[
    str | None, typer.Option("--board", "-b", metavar="NAME", help="Board (see `tinykit boards`).")
]
TargetName = Annotated[
    str | None,
    typer.Option("--target", "-t", metavar="NAME", help="unicorn, qemu, renode or serial."),
]
Port = Annotated[
    str | None,
    typer.Option("--port", "-p", metavar="URL", help="Serial port of a real board, or any URL."),
]
Firmware = Annotated[
    Path | None,
    typer.Option("--firmware", metavar="ELF", help="This ELF instead of the one `build` made."),
]
SplitName = Annotated[
    str, typer.Option("--split", metavar="NAME", help="train, test or calibration.")
]
Limit = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="At most N samples.")
]
SamplesFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="SAMPLES", help=".npz, .npy, .csv or .wav instead of [data].", show_default=False
    ),
]
LoadFile = Annotated[
    Path | None, typer.Option("--load", metavar="FILE", help="First load what `--save` kept.")
]
ModelFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL",
        help="Full int8 .tflite or .onnx instead of [model] path.",
        show_default=False,
    ),
]
PlanFile = Annotated[
    Path | None, typer.Option("--plan", metavar="FILE", help="Update plan (TOML).")
]
OutDir = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder to write into.")
]
Sram = Annotated[
    int | None,
    typer.Option("--sram", metavar="BYTES", parser=parse_bytes, help="SRAM budget, e.g. 128KB."),
]
Flash = Annotated[
    int | None,
    typer.Option("--flash", metavar="BYTES", parser=parse_bytes, help="Flash budget, e.g. 1MB."),
]
