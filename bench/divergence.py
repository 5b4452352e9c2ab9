"""What a guard keeps when learning goes wrong: by wrong labels, or by a rate a thousand times up.

For every subject the network that the other nine trained (as in `bench personalization`) learns the
windows that the subject labels, on the C engine built for this machine, with the example's sparse
plan: as it is; with labels that are random from the middle on; with a thousand times the learning
rate. Each without a guard and with one, an empty section [guard].
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

from bench.measuring.failure import failed
from bench.personalization import EXAMPLE, PLANS, print_table
from tinykit.errors import TinykitError
from tinykit.training.plan import Guard, Plan

if str(EXAMPLE) not in sys.path:
    sys.path.insert(0, str(EXAMPLE))

from data import SUBJECTS, Windows
from factory import Factory, generate_model, int8_windows, make_factory_model

CASES = ("as it should be", "random labels", "rate times 1000")
EXERCISES = 7


@dataclass(frozen=True)
class Run:
    """Accuracies in % on the subject's test windows; how often the guard went back."""

    subject: int
    case: str
    guarded: bool
    before: float
    after: float
    rollbacks: int
    guard_bytes: int


def plan_of(case: str, guarded: bool) -> Plan:
    """The example's sparse plan, perhaps with an absurd rate, perhaps with a guard."""
    plan = Plan.load(EXAMPLE / PLANS["sparse plan"])
    if case == CASES[2]:
        rate = 1000 * plan.optimizer.learning_rate
        absurd = plan.optimizer.model_copy(update={"learning_rate": rate})
        plan = plan.model_copy(update={"optimizer": absurd})
    return plan.model_copy(update={"guard": Guard() if guarded else None})


def run(factory: Factory, case: str, guarded: bool) -> Run:
    """Evaluate, learn, evaluate."""
    from tinykit.host import HostModel

    split, graph = factory.split, factory.graph()
    labels = split.adapt.y.copy()
    if case == CASES[1]:
        half = len(labels) // 2
        random = np.random.default_rng(factory.subject)
        labels[half:] = random.integers(0, EXERCISES, len(labels) - half)
    with tempfile.TemporaryDirectory() as folder:
        manifest = generate_model(graph, split, Path(folder), plan_of(case, guarded))
        host = HostModel(Path(folder))

        def accuracy(windows: Windows) -> float:
            x = int8_windows(windows, graph)
            found = np.array([int(host.infer(sample).argmax()) for sample in x])
            return 100 * float(np.mean(found == windows.y))

        before, rollbacks = accuracy(split.test), 0
        for x, y in zip(int8_windows(split.adapt, graph), labels, strict=True):
            rollbacks = host.train(x, int(y)).rollbacks
        return Run(
            subject=factory.subject,
            case=case,
            guarded=guarded,
            before=before,
            after=accuracy(split.test),
            rollbacks=rollbacks,
            guard_bytes=manifest.memory.sram.get("guard", 0),
        )


def rows(runs: list[Run]) -> list[list[str]]:
    """A table: means over subjects, and the worst of them."""
    found = [["learning", "guard", "before %", "after %", "worst %", "went back", "guard B"]]
    for case, guarded in dict.fromkeys((r.case, r.guarded) for r in runs):
        mine = [r for r in runs if (r.case, r.guarded) == (case, guarded)]
        found.append(
            [
                case,
                "yes" if guarded else "no",
                f"{np.mean([r.before for r in mine]):.1f}",
                f"{np.mean([r.after for r in mine]):.1f}",
                f"{min(r.after for r in mine):.1f}",
                f"{np.mean([r.rollbacks for r in mine]):.1f}",
                f"{max(r.guard_bytes for r in mine):,}",
            ]
        )
    return found


def main() -> int:
    """Exit code 0, 1 when something failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--subjects", type=int, nargs="+", choices=SUBJECTS, default=SUBJECTS)
    parser.add_argument("--json", action="store_true", help="every run as JSON")
    arguments = parser.parse_args()
    progress = Console(stderr=True, highlight=False)
    console = Console(highlight=False, soft_wrap=True)
    runs = []
    try:
        for subject in arguments.subjects:
            factory = make_factory_model(subject)
            runs += [run(factory, case, guarded) for case in CASES for guarded in (False, True)]
            progress.print(f"subject {subject}")
    except TinykitError as error:
        return failed(error)
    if arguments.json:
        print(json.dumps([asdict(r) for r in runs], indent=1))
        return 0
    runs.sort(key=lambda r: (CASES.index(r.case), r.guarded, r.subject))
    print_table(console, rows(runs))
    console.print(f"{len(arguments.subjects)} subjects")
    return 0


if __name__ == "__main__":
    sys.exit(main())
