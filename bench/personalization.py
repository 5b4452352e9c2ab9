"""What learning on the device is worth: ten people, each unknown to the model that learns them.

Every subject is held out in turn: a network is trained on the other nine and quantized; the C
engine, built for this machine (bit for bit what the device does, as `make demo` proves), learns
from windows of the first 40 % of each of the subject's recordings, 400 steps of one window each;
accuracy is measured on the last part, before and after. Plans and learning rates stand in the
example's files; `--validate` shows how they were chosen: inside the adaptation part, without test
windows.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.measuring.failure import failed
from tinykit.errors import TinykitError
from tinykit.resources import resource_path
from tinykit.training.plan import Plan

EXAMPLE = resource_path("examples") / "gesture_personalization"
sys.path.insert(0, str(EXAMPLE))

from data import SUBJECTS, Split, validation_split  # noqa: E402
from factory import Factory, generate_model, int8_windows, make_factory_model  # noqa: E402

PLANS = {  # of the example, as README.md calls them
    "head only": "head_only.toml",
    "sparse plan": "plan.toml",
    "everything": "everything.toml",
}

# What `--validate` compares: layers whose weights learn (all biases and the head learn, too), rates
RATES = (0.0005, 0.001, 0.002, 0.004)
CANDIDATES: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "biases": ((), RATES[2:]),
    "last block": (("block4_expand", "block4_depthwise", "block4_project"), RATES[1:3]),
    "stem, block 1": (("stem", "block1_expand"), RATES[1:3]),
    "stem, blocks 1-2": (("stem", "block1_expand", "block2_expand"), RATES),
    "stem, blocks 1-4": (
        ("stem", "block1_expand", "block2_expand", "block3_expand", "block4_expand"),
        RATES[:3],
    ),
}
SCHEDULED = {"head only": (0.03, 0.06, 0.1), "everything": (0.0005, 0.001, 0.002)}

# Student's t for 95 %, two-sided, by degrees of freedom from 1
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Job:
    """One subject's model (of a training seed) and one plan, for another process."""

    subject: int
    seed: int
    validate: bool
    name: str
    plan: Plan


@dataclass(frozen=True)
class Run:
    """One subject, one plan. Accuracies in %; memory in bytes, the exact parts."""

    subject: int
    plan: str
    rate: float
    before: float
    after: float
    steps: int
    saturations: int
    sram: int
    flash: int
    step_macs: int

    @property
    def gain(self) -> float:
        """Points of accuracy."""
        return self.after - self.before


@dataclass(frozen=True)
class Interval:
    """Mean over subjects, standard deviation, and half the width of the mean's 95 % interval."""

    mean: float
    deviation: float
    half: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Interval:
        x = np.array(list(values))
        if len(x) < 2:
            return cls(float(x.mean()), math.nan, math.nan)
        deviation = float(x.std(ddof=1))
        return cls(float(x.mean()), deviation, T_95[len(x) - 2] * deviation / math.sqrt(len(x)))

    @property
    def gain(self) -> str:
        """As a difference: +5.1 ± 3.2."""
        return f"{self.mean:+.1f} ± {self.half:.1f}"

    @property
    def spread(self) -> str:
        """As values and their standard deviation: 94.2 ± 4.0."""
        return f"{self.mean:.1f} ± {self.deviation:.1f}"


@cache
def _prepared(subject: int, seed: int, validate: bool) -> tuple[Factory, Split]:
    factory = make_factory_model(subject, seed)
    return factory, validation_split(subject) if validate else factory.split


def run(job: Job) -> Run:
    """Evaluate, learn, evaluate, on the C engine built for this machine."""
    from tinykit.host import HostModel

    plan = job.plan
    factory, split = _prepared(job.subject, job.seed, job.validate)
    graph = factory.graph()
    adapt, test = int8_windows(split.adapt, graph), int8_windows(split.test, graph)
    with tempfile.TemporaryDirectory() as folder:
        manifest = generate_model(graph, split, Path(folder), plan)
        host = HostModel(Path(folder))

        def accuracy() -> float:
            found = np.array([int(host.infer(x).argmax()) for x in test])
            return 100 * float(np.mean(found == split.test.y))

        before = accuracy()
        steps = [host.train(x, int(y)) for x, y in zip(adapt, split.adapt.y, strict=True)]
        host.apply()
        return Run(
            subject=factory.subject,
            plan=job.name,
            rate=plan.optimizer.learning_rate,
            before=before,
            after=accuracy(),
            steps=len(steps),
            saturations=sum(step.saturations for step in steps),
            sram=sum(manifest.memory.sram.values()),
            flash=sum(manifest.memory.flash.values()),
            step_macs=manifest.macs["train"],
        )


def candidate(name: str, layers: Sequence[str], rate: float) -> Plan:
    """All biases, the head, and the weights of some layers."""
    update: list[dict[str, object]] = [{"layers": "all", "bias": True}]
    if layers:
        update.append({"layers": tuple(layers), "weights": 1.0})
    update.append({"layers": "head", "bias": True, "weights": 1.0})
    return Plan.parse({"name": name, "optimizer": {"learning_rate": rate}, "update": update}, name)


def with_optimizer(plan: Plan, **changes: object) -> Plan:
    """The plan with some of its optimizer's settings changed."""
    return plan.model_copy(update={"optimizer": plan.optimizer.model_copy(update=changes)})


def validation_plans() -> list[tuple[str, Plan]]:
    """Every plan and rate that was considered."""
    found = [
        (name, candidate(name, layers, rate))
        for name, (layers, rates) in CANDIDATES.items()
        for rate in rates
    ]
    for name, rates in SCHEDULED.items():
        plan = Plan.load(EXAMPLE / PLANS[name])
        constant = with_optimizer(plan, schedule="constant", total_steps=0)
        for rate in rates:
            found.append((f"{name}, cosine", with_optimizer(plan, learning_rate=rate)))
            found.append((name, with_optimizer(constant, learning_rate=rate)))
    return found


def summarise(runs: list[Run]) -> dict[str, Any]:
    """Everything that is printed, as data."""
    by_plan = _by_plan(runs)
    head = by_plan["head only"]
    return {
        "before": asdict(Interval.of(r.before for r in head)),
        "plans": {
            name: {
                "after": asdict(Interval.of(r.after for r in found)),
                "gain": asdict(Interval.of(r.gain for r in found)),
                "worst_gain": min(r.gain for r in found),
                "against_head_only": asdict(
                    Interval.of(a.after - b.after for a, b in zip(found, head, strict=True))
                ),
                "saturations": sum(r.saturations for r in found),
            }
            for name, found in by_plan.items()
        },
        "runs": [asdict(r) for r in runs],
    }


def _by_plan(runs: list[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for entry in runs:
        found.setdefault(entry.plan, []).append(entry)
    return found


def print_results(console: Console, runs: list[Run]) -> None:
    """Two tables in Markdown, as README.md has them."""
    by_plan = _by_plan(runs)
    head = by_plan["head only"]
    rows = [["accuracy %", *(f"subject {r.subject}" for r in head), "mean ± s.d."]]
    before = Interval.of(r.before for r in head)
    rows.append(["before", *(f"{r.before:.1f}" for r in head), before.spread])
    for name, found in by_plan.items():
        after = Interval.of(r.after for r in found)
        rows.append([name, *(f"{r.after:.1f}" for r in found), after.spread])
    print_table(console, rows)
    titles = ("what learns", "points gained", "beside head only", "worst subject", "SRAM B")
    rows = [[*titles, "MACs a step"]]
    for name, found in by_plan.items():
        gain = Interval.of(r.gain for r in found)
        beside = Interval.of(a.after - b.after for a, b in zip(found, head, strict=True))
        worst = f"{min(r.gain for r in found):+.1f}"
        memory = f"{max(r.sram for r in found):,}"
        rows.append(
            [name, gain.gain, beside.gain if found is not head else "", worst, memory,
             f"{found[0].step_macs:,}"]
        )  # fmt: skip
    print_table(console, rows)
    console.print(
        f"{len(head)} subjects, {head[0].steps} steps each; means with their 95 % interval, "
        "paired by subject; SRAM: arena, parameters, state"
    )


def print_validation(console: Console, runs: list[Run]) -> None:
    """One row per plan and rate, over all subjects."""
    rows = [["what learns", "learning rate", "accuracy %", "points gained", "worst subject"]]
    chosen: dict[tuple[str, float], list[Run]] = {}
    for entry in runs:
        chosen.setdefault((entry.plan, entry.rate), []).append(entry)
    for (name, rate), found in chosen.items():
        after, gain = Interval.of(r.after for r in found), Interval.of(r.gain for r in found)
        worst = f"{min(r.gain for r in found):+.1f}"
        rows.append([name, f"{rate:g}", f"{after.mean:.2f}", gain.gain, worst])
    print_table(console, rows)


def print_table(console: Console, rows: list[list[str]]) -> None:
    rows = [rows[0], ["---", *("---:" for _ in rows[0][1:])], *rows[1:]]
    for row in rows:
        console.print(f"| {' | '.join(row)} |", markup=False)
    console.print()


def main() -> int:
    """Exit code 0, 1 when something failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--subjects", type=int, nargs="+", choices=SUBJECTS, default=SUBJECTS)
    parser.add_argument("--seed", type=int, default=1, help="of the float training (default: 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at once")
    parser.add_argument("--validate", action="store_true", help="how plans and rates were chosen")
    parser.add_argument("--json", action="store_true", help="every run as JSON")
    arguments = parser.parse_args()
    progress = Console(stderr=True, highlight=False)
    console = Console(highlight=False, soft_wrap=True)
    if arguments.validate:
        plans = validation_plans()
    else:
        plans = [(name, Plan.load(EXAMPLE / file)) for name, file in PLANS.items()]
    try:
        for subject in arguments.subjects:
            progress.print(f"the model for subject {subject}")
            make_factory_model(subject, arguments.seed)
        jobs = [
            Job(subject, arguments.seed, arguments.validate, name, plan)
            for name, plan in plans
            for subject in arguments.subjects
        ]
        runs = []
        fresh = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork
        with ProcessPoolExecutor(arguments.jobs, mp_context=fresh) as pool:
            for done, result in enumerate(pool.map(run, jobs), 1):
                runs.append(result)
                if done % len(arguments.subjects) == 0:
                    progress.print(f"{done} of {len(jobs)} runs")
    except TinykitError as error:
        return failed(error)
    if arguments.json:
        print(json.dumps(summarise(runs), indent=1))
    elif arguments.validate:
        print_validation(console, runs)
    else:
        print_results(console, runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
