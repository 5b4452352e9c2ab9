"""Instructions, cycles, SRAM and flash of inference, by layer, and whether the outputs are exact.

The firmware of each model is built for an emulated board and run on QEMU, whose plugins count what
it executes: the same every time. Outputs are compared with TensorFlow Lite Micro's. Without
--model: the four MLPerf Tiny models of ../shared/models (or $TINYKIT_SHARED/models).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from bench.measuring import peers, tables
from bench.measuring.anchors import verdicts
from bench.measuring.failure import failed
from bench.measuring.inference import Measured, measure
from bench.measuring.models import choose
from tinykit.boards import load_board
from tinykit.errors import TinykitError, UsageError
from tinykit.report.report import Report
from tinykit.targets.qemu import qemu_installed

BOARD = "mps2_an386"


def main() -> int:
    """The command: 0 done, 1 failed, outputs differ or a bar is missed, 2 wrong usage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--board", default=BOARD, help=f"an emulated board (default {BOARD})")
    parser.add_argument(
        "--model", type=Path, action="append", metavar="FILE",
        help="a .tflite file, instead of the four MLPerf Tiny models; may be repeated",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--bars", action="store_true", help="hold the figures against the bars")
    parser.add_argument("--peers", action="store_true", help="also run engines from PyPI")
    parser.add_argument("--work", type=Path, help="keep the builds here")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            work = (options.work or Path(temporary)).absolute()
            return _run(options, work)
    except (TinykitError, KeyboardInterrupt) as error:
        return failed(error)


def _say(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


def _run(options: argparse.Namespace, work: Path) -> int:
    board = load_board(options.board)
    if board.qemu is None:
        raise UsageError(f"QEMU has no machine for board {board.name}")
    if not qemu_installed():
        raise TinykitError("qemu-system-arm is not installed", "apt-get install qemu-system-arm")
    results: list[Measured] = []
    models = choose(options.model)
    for name, path in models.items():

        def say(what: str, name: str = name) -> None:
            _say(f"{name} on {board.name}: {what}")

        results.append(measure(path, board, work / name, name=name, say=say))
    held = verdicts(board.cpu, results) if options.bars else []
    others = peers.run(board, work, models, _say) if options.peers else []
    if options.json:
        print(json.dumps(tables.data(board, results, held, others), indent=2))
    else:
        parts = tables.parts(board, results, held, others)
        Report({}, parts).print(Console(highlight=False))
    return int(not all(r.exact for r in results) or not all(v.met for v in held))


if __name__ == "__main__":
    sys.exit(main())
