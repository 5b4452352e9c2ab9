"""Accuracy on real tasks: the engine's training beside float32 training with the same plan.

Five tasks, learnt by the generated C built for this machine (bit for bit what a device does): hands
that show digits, spoken digits of a new speaker and of a real one after synthetic voices, exercises
of a new watch wearer, gestures with a wand held turned. Head only, biases only, a sparse plan, a
full update; each also in float32 by TensorFlow, from the same weights, with the same samples in the
same order, one a step, at the same rate. Rates are chosen on a part of the training samples.

What is done is kept: a run that was stopped goes on. `--tables` prints docs/accuracy.md from the
results that are checked in; `--write` puts those of this run in their place.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.measuring.accuracy import grid, tables
from bench.measuring.accuracy.problem import Task
from bench.measuring.accuracy.run import jobs, run_all
from bench.measuring.accuracy.store import Cell, Result, Store, in_order, result_of
from bench.measuring.accuracy.tasks import NAMES, task_of
from bench.measuring.failure import failed
from bench.measuring.progress import Stages
from tinykit.errors import TinykitError, UsageError

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "accuracy.json"
PAGE = ROOT / "docs" / "accuracy.md"
CACHE = ROOT / ".cache" / "accuracy"
QUICK, QUICK_SEEDS = ("wand",), 1
STAGES = ("rates", "comparison", "ablation")
PACKAGES = ("numpy", "tensorflow", "keras")
HEADER = """<!-- printed by `python -m bench accuracy --tables`: edit the code, not this file -->

# Accuracy on real tasks

`python -m bench accuracy` makes these figures; `--quick` makes a few of them again in minutes.

"Integer" is the generated C built for this machine, which equals the device bit for bit. "Float32"
is TensorFlow: the same plan, samples, order and rate, one sample a step, from the dequantized
weights. Its activations, weights and gradients are not rounded; the clamps of the int8 network stay
(in MCUNet they are its ReLU6). A seed is the order of the samples, the stochastic rounding and,
where there is one, the fresh head; ± is the standard deviation over seeds of the mean over cases.
Rates fall linearly to 0. What is "not run" waits for the time to run it.

These results were made while cross-entropies saw int8 logits (`[training] logits = "int8"` of a
plan). What broke down below did so by them: logits beyond their ends look alike. With int16 logits,
which are the default now, sign digits learn at rate 0.01 as in float32: scheme 49kb 98.9 and 99.1 %
(float32 98.6, 98.9), biases 96.6 and 96.4 % (96.6, 96.1), seeds 0 and 1, 500 steps of warm-up.
"""


def main() -> int:
    """Exit code 0; 1 when something failed."""
    arguments = parsed()
    try:
        if arguments.tables:
            return _print_page(committed())
        tasks = [task_of(name) for name in arguments.task or (QUICK if arguments.quick else NAMES)]
        cache = CACHE / "fresh" if arguments.fresh else CACHE
        store = Store(cache / "results")
        seeds = range(arguments.seeds or (QUICK_SEEDS if arguments.quick else len(grid.SEEDS)))
        _run(tasks, store, CACHE, seeds, arguments)
        results = [r for r in store.all() if r.cell.task in {task.name for task in tasks}]
        if arguments.write:
            _write(store.all())
    except (TinykitError, KeyboardInterrupt) as error:
        return failed(error)
    if arguments.json:
        claims = tables.held(tasks, results)
        print(json.dumps({"claims": claims, "results": [asdict(r) for r in results]}, indent=1))
    else:
        print("\n\n".join(tables.pages(tasks, results)))
    return 0


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--task", nargs="+", choices=NAMES, help="default: all")
    parser.add_argument("--way", nargs="+", help="what learns, “head only” for instance")
    parser.add_argument("--quick", action="store_true", help="one small task, one seed")
    parser.add_argument("--seeds", type=int, help=f"default: {len(grid.SEEDS)}")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (default: 2)")
    parser.add_argument("--stage", choices=STAGES, nargs="*",
                        help="default: all; with no name: what is done is shown")  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="as if nothing had been done yet")
    parser.add_argument("--json", action="store_true", help="every result as JSON")
    parser.add_argument("--write", action="store_true", help=f"into {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--tables", action="store_true", help="docs/accuracy.md, nothing is run")
    return parser.parse_args()


def _run(
    tasks: Sequence[Task], store: Store, cache: Path, seeds: range, arguments: argparse.Namespace
) -> None:
    stages = STAGES if arguments.stage is None else arguments.stage
    unknown = set(arguments.way or ()) - {way for task in tasks for way in task.ways}
    if unknown:
        raise UsageError(f"no task has the way {', '.join(unknown)}")
    with Stages("accuracy") as progress:
        for stage in stages:
            cells = [cell for task in tasks for cell in cells_of(stage, task, store, seeds)]
            if arguments.way:
                cells = [cell for cell in cells if cell.way in arguments.way]
            todo = jobs(cells, store, cache)
            progress.stage(f"{stage}: {len(todo)} jobs")
            for done, name in enumerate(run_all(todo, store, arguments.jobs), 1):
                progress.advance(done, len(todo))
                print(f"accuracy: {done} of {len(todo)} done: {name}", file=sys.stderr, flush=True)


def cells_of(stage: str, task: Task, store: Store, seeds: range) -> list[Cell]:
    """What a stage needs of a task."""
    if stage == "rates":
        return grid.validation(task)
    if stage == "comparison":
        return grid.comparison(task, store.all(), seeds)
    return grid.ablation(task, store.all(), seeds)


def committed() -> list[Result]:
    """The results that are checked in. Raises UsageError where there are none."""
    try:
        data = json.loads(RESULTS.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{RESULTS}: cannot be read", "run with --write first") from error
    return [result_of(entry) for entry in data["results"]]


def page(results: Sequence[Result]) -> str:
    """docs/accuracy.md."""
    parts = tables.pages([task_of(name) for name in NAMES], results)
    return HEADER + "\n" + "\n\n".join(parts) + "\n"


def _print_page(results: Sequence[Result]) -> int:
    PAGE.write_text(page(results), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written", file=sys.stderr)
    return 0


def _write(results: Sequence[Result]) -> None:
    found: dict[str, Any] = {
        "command": "python -m bench accuracy --write",
        "commits": sorted({result.commit for result in results}),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "results": [asdict(result) for result in in_order(results)],
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({k: v for k, v in found.items() if k != "results"})[:-1]
    lines = ",\n".join(json.dumps(entry) for entry in found["results"])
    RESULTS.write_text(f'{head}, "results": [\n{lines}\n]}}\n', encoding="utf-8")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
