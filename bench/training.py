"""Instructions, SRAM and flash of a training step, and whether its gradients and updates are right.

Firmware of a model with an update plan is built for an emulated board and run on QEMU, which counts
what it executes: the same every time. Gradients are held against float64, weights against their
drift under noise, and the device's parameters against the host's, bit for bit. Without options:
MCUNet-5fps with the published scheme "49kb" on a Cortex-M7, for which the figures of the Tiny
Training Engine are known. --all compiles and runs the three backbones of its paper with all schemes
that were published for them, instead.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from bench.measuring import schemes, training_tables
from bench.measuring.failure import failed
from bench.measuring.progress import Stages
from bench.measuring.subject import BOARD, PLAN, model_path, plan_of
from bench.measuring.training import measure
from bench.measuring.training_bars import bars
from tinykit.boards import Board, load_board
from tinykit.errors import TinykitError, UsageError
from tinykit.report.report import Report
from tinykit.targets.qemu import qemu_installed


def main() -> int:
    """The command: 0 done, 1 failed, device and host differ or a bar is missed, 2 wrong usage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--board", default=BOARD, help=f"an emulated board (default {BOARD})")
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="a .tflite file (default MCUNet-5fps)"
    )
    parser.add_argument(
        "--plan", default=PLAN, metavar="FILE|tte:NAME",
        help="an update plan, or a scheme of tte_schemes.json beside the model (default tte:49kb)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=int, default=100, metavar="N",
        help="training steps in which device and host are compared (default 100)",
    )  # fmt: skip
    parser.add_argument(
        "--samples", metavar="photos|noise|FILE",
        help="photos of hands, seeded noise, or a file of x and y (default: what fits the model)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--bars", action="store_true", help="hold the figures against the bars")
    parser.add_argument("--all", action="store_true", help="all backbones with all schemes")
    parser.add_argument("--quick", action="store_true", help="with --all: one scheme a backbone")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep the builds here")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            work = (options.work or Path(temporary)).absolute()
            return (_all if options.all else _one)(options, _board(options), work)
    except (TinykitError, KeyboardInterrupt) as error:
        return failed(error)


def _board(options: argparse.Namespace) -> Board:
    if options.steps < 1:
        raise UsageError(f"--steps {options.steps}: at least 1 is needed")
    if options.quick and not options.all:
        raise UsageError("--quick goes with --all")
    board = load_board(options.board)
    if board.qemu is None:
        raise UsageError(f"QEMU has no machine for board {board.name}")
    if not qemu_installed():
        raise TinykitError("qemu-system-arm is not installed", "apt-get install qemu-system-arm")
    return board


def _one(options: argparse.Namespace, board: Board, work: Path) -> int:
    model = model_path(options.model)
    plan = plan_of(options.plan, model)
    with Stages(f"{model.stem}, {plan.name}, on {board.name}") as stages:
        result = measure(
            model, plan, board, work, steps=options.steps, samples=options.samples, stages=stages
        )
    held = bars(result) if options.bars else []
    report = Report(training_tables.data(result, held), training_tables.parts(result, held))
    _show(report, options.json)
    return int(not result.verified.equal or not all(bar.met for bar in held))


def _all(options: argparse.Namespace, board: Board, work: Path) -> int:
    if options.model or options.plan != PLAN:
        raise UsageError("--all has models and plans of its own")
    with Stages(f"all schemes on {board.name}") as stages:
        results = schemes.run(board, work, options.quick, options.samples, stages)
    _show(schemes.report(board, results), options.json)
    return int(not all(result.equal for result in results))


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.data, indent=2))
    else:
        report.print(Console(highlight=False))


if __name__ == "__main__":
    sys.exit(main())
