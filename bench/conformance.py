"""One training run in every schedule, by every compiler and level, on every core: the same bits.

A small network with convolutions, depthwise ones, a residual and a dense layer trains 20 steps with
momentum, stochastic rounding and accumulation: layer by layer, streamed, and with every tensor in a
place of its own; by the compilers of this machine at each level, with each instruction set that it
can stand in for; and as firmware on emulated cores from Cortex-M0+ to Cortex-M55. Parameters,
losses and the trainer's state must be equal, byte for byte. Then it is shown which functions of the
runtime use floats at all: those of scalars.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from bench.measuring.conformance import (
    BOARDS,
    SCALARS,
    Result,
    cases,
    differing,
    float_functions,
    small_run,
)
from bench.measuring.failure import failed
from bench.measuring.progress import Stages
from tinykit.boards import load_board
from tinykit.build import build_firmware
from tinykit.errors import TinykitError
from tinykit.report.report import Column, JsonValue, Report, Table


def main() -> int:
    """The command: 0 all equal, 1 something differs or failed, 2 wrong usage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="this machine, few levels, no cores")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep the builds here")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            work = (options.work or Path(temporary)).absolute()
            work.mkdir(parents=True, exist_ok=True)
            results, floats = _measure(work, options.quick)
    except (TinykitError, KeyboardInterrupt) as error:
        return failed(error)
    found = report(results, floats)
    if options.json:
        print(json.dumps(found.data, indent=2))
    else:
        found.print(Console(highlight=False))
    return int(not found.data["equal"])


def _measure(work: Path, quick: bool) -> tuple[list[Result], set[str] | None]:
    run = small_run()
    with Stages("conformance") as stages:
        stages.stage("schedules")
        rows = cases(run, work, quick)
        results = []
        for row in rows:
            stages.stage(f"{row.schedule}, {row.build}, {row.where}")
            results.append(Result(row.schedule, row.build, row.where, *row.run()))
            stages.advance(len(results), len(rows))
        if quick:
            return results, None
        stages.stage("functions that use floats")
        board = load_board(BOARDS[0])
        built = build_firmware(
            work / "schedule-0", board, work / "floats", trace=False, check=False
        )
    return results, float_functions(built.elf)


def report(results: list[Result], floats: set[str] | None) -> Report:
    """A row for each build, and the functions that use floats (None: not looked for)."""
    wrong = differing(results)
    rows = tuple(
        (
            r.schedule, r.build, r.where, *(f"{value:08x}" for value in r.bits),
            "differs" if r in wrong else "",
        )
        for r in results
    )  # fmt: skip
    columns = ("schedule", "build", "where", "parameters", "losses", "trainer", "")
    parts: list[Table | str] = [
        Table(tuple(map(Column, columns)), rows, title="CRC-32 after 20 training steps")
    ]
    beyond = sorted((floats or set()) - set(SCALARS))
    if floats is not None:
        rows = tuple(
            (name, SCALARS.get(name, "not known to be a scalar's")) for name in sorted(floats)
        )
        title = "functions of the runtime with float operations, and for each of what in a step"
        parts.append(Table((Column("function"), Column("for each")), rows, title=title))
    equal = not wrong and not beyond
    parts.append(
        f"{len(results)} builds, {len(wrong)} differ" + ("" if equal else ": not the same")
    )
    data: dict[str, JsonValue] = {
        "equal": equal,
        "results": [asdict(r) | {"equal": r not in wrong} for r in results],
        "float_functions": sorted(floats) if floats is not None else None,
        "unexpected_float_functions": beyond,
    }
    return Report(data, tuple(parts))


if __name__ == "__main__":
    sys.exit(main())
