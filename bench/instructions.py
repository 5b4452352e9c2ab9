"""Instructions, SRAM and flash of the MLPerf Tiny models and of MCUNet's training step.

Firmware is built for an emulated board and run on QEMU (or Unicorn), which counts the instructions
that it executes; the count is the same every time. Beside it stand, measured in the same way with
the same compiler (gcc 12.2, QEMU 7.2): CMSIS-NN 99f736a under TensorFlow Lite Micro for inference,
and the released Tiny Training Engine for MCUNet-5fps with the scheme "49kb" (-Ofast).

Needs the reference models, in ../shared/models or the folder given with --models.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from tinykit.boards import load_board
from tinykit.build import build_firmware
from tinykit.codegen import Manifest, generate
from tinykit.data import noise
from tinykit.errors import TinykitError
from tinykit.importers import load_model
from tinykit.link import Client
from tinykit.report.report import Column, Report, Table, numbers
from tinykit.targets import default_target, open_target
from tinykit.training.plan import Plan, tte_plan

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"


@dataclass(frozen=True)
class Case:
    """A model on a board; the peer's figures are None where there are none.

    peer_infer, peer_train: instructions; peer_sram: arena, or all SRAM for training, in bytes.
    """

    name: str
    path: str
    board: str
    peer: str
    peer_infer: int | None
    peer_train: int | None = None
    peer_sram: int | None = None
    scheme: tuple[str, str] | None = None


CASES = (
    Case("KWS", "mlperf_tiny/kws_ref_model.tflite", "mps2_an386", "CMSIS-NN", 7_840_000,
         peer_sram=22_820),
    Case("IC", "mlperf_tiny/pretrainedResnet_quant.tflite", "mps2_an386", "CMSIS-NN", 29_870_000,
         peer_sram=54_996),
    Case("VWW", "mlperf_tiny/vww_96_int8.tflite", "mps2_an386", "CMSIS-NN", 24_710_000,
         peer_sram=100_708),
    Case("AD", "mlperf_tiny/ad01_int8.tflite", "mps2_an386", "CMSIS-NN", 580_000, peer_sram=2_580),
    Case("MCUNet, 49kb", "mcunet-5fps-10c.tflite", "mps2_an500", "TTE", 65_030_000, 106_370_000,
         253_432, ("mcunet", "49kb")),
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What a case took: multiply-accumulates, instructions, bytes."""

    name: str
    board: str
    macs: dict[str, int]
    infer: int
    train: int | None
    sram: int
    arena: int
    flash: int


def measure(case: Case, models: Path, work: Path) -> Measured:
    """Build the case's firmware, run one inference (and one training step), count."""
    board = load_board(case.board)
    plan = _plan(case, models)
    generated = work / case.board / "generated"
    manifest = generate(load_model(models / case.path), generated, name="bench", plan=plan)
    firmware = build_firmware(generated, board, work / case.board / "firmware", trace=False)
    target = default_target(board)
    with open_target(target, elf=firmware.elf, board=board, count_instructions=True) as running:
        _run(running.url, manifest)
        counts = running.instructions()
    memory = manifest.memory.sram
    return Measured(
        case.name,
        case.board,
        dict(manifest.macs),
        counts[0],
        counts[1] if manifest.trains else None,
        firmware.report.sram,
        memory["arena"],
        firmware.report.flash,
    )


def _plan(case: Case, models: Path) -> Plan | None:
    return tte_plan(models / "tte_schemes.json", *case.scheme) if case.scheme else None


def _run(url: str, manifest: Manifest) -> None:
    sample = np.ascontiguousarray(noise(manifest.input.shape[1:], 1, count=1).x[0])
    with Client(url, manifest) as client:
        client.infer(sample)
        if manifest.trains:
            client.train(sample, 0)


def report(results: Sequence[tuple[Case, Measured]]) -> Report:
    """One row per inference and per training step."""
    rows = []
    for case, found in results:
        arena = case.peer_sram if found.train is None else None
        memory = (f"{found.arena:,}", f"{arena:,}" if arena else "")
        first = _row(found, "inference", found.infer, "infer", case.peer_infer, case.peer)
        rows.append((*first, *memory))
        if found.train is not None:
            memory = (f"{found.sram:,} in all", f"{case.peer_sram:,} in all")
            second = _row(found, "training step", found.train, "train", case.peer_train, case.peer)
            rows.append((*second, *memory))
    columns = (
        *map(Column, ("model", "board", "what")),
        *numbers("MACs", "instructions", "per MAC", "peer's", "of peer's"),
        Column("peer"),
        *numbers("arena B", "peer's B"),
    )
    data = [asdict(found) for _, found in results]
    return Report({"results": data}, (Table(columns, tuple(rows)),))


def _row(
    found: Measured, what: str, count: int, key: str, peer: int | None, peer_name: str
) -> tuple[str, ...]:
    macs = found.macs[key]
    return (
        found.name,
        found.board,
        what,
        f"{macs:,}",
        f"{count:,}",
        f"{count / macs:.2f}",
        f"{peer:,}" if peer else "",
        f"{100 * count / peer:.0f} %" if peer else "",
        peer_name,
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of reference models")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(case.name for case in CASES)}")
    options = parser.parse_args()
    chosen = [case for case in CASES if not options.names or case.name in options.names]
    if not options.models.is_dir():
        print(f"error: {options.models}: no such folder; give --models DIR", file=sys.stderr)
        return 1
    results = []
    try:
        with tempfile.TemporaryDirectory() as work:
            for case in chosen:
                print(f"{case.name} on {case.board} …", file=sys.stderr, flush=True)
                results.append((case, measure(case, options.models, Path(work) / case.name[:3])))
    except TinykitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_code
    found = report(results)
    if options.json:
        print(json.dumps(found.data, indent=2))
    else:
        found.print(Console(highlight=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
