"""Instructions, SRAM and flash of MCUNet's training step. (Of inference: bench.inference.)

Firmware of MCUNet-5fps with the update scheme "49kb" is built for an emulated board and run on QEMU
(or Unicorn), which counts the instructions that it executes; the count is the same every time.
Beside it stands, measured in the same way with the same compiler (gcc 12.2, QEMU 7.2), the released
Tiny Training Engine's code for that network and scheme (-Ofast).

Needs the reference models, in ../shared/models or $TINYKIT_SHARED/models.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from bench.measuring.models import shared_models
from tinykit.boards import load_board
from tinykit.build import build_firmware
from tinykit.codegen import generate
from tinykit.data import noise
from tinykit.errors import TinykitError
from tinykit.importers import load_model
from tinykit.link import Client
from tinykit.report.report import Column, Report, Table, numbers
from tinykit.targets import default_target, open_target
from tinykit.training.plan import tte_plan

MODEL, BOARD, SCHEME = "mcunet-5fps-10c.tflite", "mps2_an500", ("mcunet", "49kb")
TTE = {"infer": 65_030_000, "train": 106_370_000}  # instructions
TTE_SRAM = 253_432  # bytes, stack included


@dataclass(frozen=True)
class Measured:
    """Multiply-accumulates and instructions of "infer" and "train"; bytes."""

    board: str
    macs: dict[str, int]
    instructions: dict[str, int]
    sram: int
    arena: int
    flash: int


def measure(models: Path, work: Path) -> Measured:
    """Builds the firmware, runs one inference and one training step, counts."""
    board = load_board(BOARD)
    plan = tte_plan(models / "tte_schemes.json", *SCHEME)
    manifest = generate(load_model(models / MODEL), work / "generated", name="bench", plan=plan)
    firmware = build_firmware(work / "generated", board, work / "firmware", trace=False)
    target = default_target(board)
    sample = np.ascontiguousarray(noise(manifest.input.shape[1:], 1, count=1).x[0])
    with open_target(target, elf=firmware.elf, board=board, count_instructions=True) as running:
        with Client(running.url, manifest) as client:
            client.infer(sample)
            client.train(sample, 0)
        infer, train = running.instructions()
    return Measured(
        BOARD,
        dict(manifest.macs),
        {"infer": infer, "train": train},
        firmware.report.sram,
        manifest.memory.sram["arena"],
        firmware.report.flash,
    )


def report(found: Measured) -> Report:
    """One row for inference and one for the training step."""
    rows = [
        (
            what,
            f"{found.macs[key]:,}",
            f"{found.instructions[key]:,}",
            f"{found.instructions[key] / found.macs[key]:.2f}",
            f"{TTE[key]:,}",
            f"{100 * found.instructions[key] / TTE[key]:.0f} %",
        )
        for what, key in (("inference", "infer"), ("training step", "train"))
    ]
    columns = (
        Column("MCUNet-5fps, 49kb"),
        *numbers("MACs", "instructions", "per MAC", "TTE's", "of TTE's"),
    )
    memory = f"SRAM {found.sram:,} B in all (TTE {TTE_SRAM:,}), flash {found.flash:,} B"
    table = Table(columns, tuple(rows), f"on {found.board}")
    return Report({"results": [asdict(found)]}, (table, memory))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    try:
        models = shared_models()
        print(f"{MODEL} on {BOARD} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as work:
            found = report(measure(models, Path(work)))
    except TinykitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps(found.data, indent=2))
    else:
        found.print(Console(highlight=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
