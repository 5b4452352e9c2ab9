"""What learning a new user costs with those before: with and without replay of their samples.

For every subject the network that the other nine trained (as in `bench personalization`) learns
the windows that the subject labels, on the C engine built for this machine. Accuracy is measured
on the subject's test windows and on windows of the nine, before and after. The replay buffer leaves
the factory full: as many windows of the nine as it has room for, of other moments than those that
are measured; then the new user's join them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from bench.measuring.failure import failed
from bench.personalization import EXAMPLE, PLANS, Interval, print_table
from tinykit.errors import TinykitError
from tinykit.training.plan import Plan, Replay

if str(EXAMPLE) not in sys.path:
    sys.path.insert(0, str(EXAMPLE))

from data import SUBJECTS, Windows
from factory import generate_model, int8_windows, make_factory_model

CHOSEN = ("head only", "sparse plan")
SAMPLES = (0, 70)  # ten of each of the seven exercises
OLD_WINDOWS = 350  # of the nine, to measure on
SHIPPED = 4  # windows of the nine that came by for each that there is room for


@dataclass(frozen=True)
class Job:
    """One subject, one plan, one size of buffer."""

    subject: int
    plan: str
    samples: int
    per_step: int


@dataclass(frozen=True)
class Run:
    """Accuracies in %, of the new user and of the old ones; bytes of what is kept."""

    subject: int
    plan: str
    samples: int
    new_before: float
    new_after: float
    old_before: float
    old_after: float
    steps: int
    replay_bytes: int


def plan_of(job: Job) -> Plan:
    """The example's plan with a buffer; a schedule that is as long as there are steps."""
    plan = Plan.load(EXAMPLE / PLANS[job.plan])
    if job.samples == 0:
        return plan
    optimizer, replay = plan.optimizer, Replay(samples=job.samples, per_step=job.per_step)
    longer = optimizer.model_copy(
        update={"total_steps": optimizer.total_steps * (1 + job.per_step)}
    )
    return plan.model_copy(update={"replay": replay, "optimizer": longer})


def run(job: Job) -> Run:
    """Evaluate, learn, evaluate."""
    from tinykit.host import HostModel

    factory = make_factory_model(job.subject)
    split, graph = factory.split, factory.graph()
    # One window in eight is measured on, another one may be in the buffer: a recording's windows
    # begin a quarter of one apart, so those four places away do not overlap.
    order = np.arange(len(split.train)) % 8
    random = np.random.default_rng(job.subject)
    old = random.permutation(np.flatnonzero(order == 0))[:OLD_WINDOWS]
    shipped = random.permutation(np.flatnonzero(order == 4))[: SHIPPED * job.samples]

    def chosen(indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Windows:
        return Windows(split.train.x[indices], split.train.y[indices])

    with tempfile.TemporaryDirectory() as folder:
        manifest = generate_model(graph, split, Path(folder), plan_of(job))
        host = HostModel(Path(folder))

        def accuracy(windows: Windows) -> float:
            x = int8_windows(windows, graph)
            found = np.array([int(host.infer(sample).argmax()) for sample in x])
            return 100 * float(np.mean(found == windows.y))

        if job.samples:
            maker = HostModel(Path(folder))
            windows = chosen(shipped)
            for x, y in zip(int8_windows(windows, graph), windows.y, strict=True):
                maker.train(x, int(y))
            host.replay = maker.replay
        new_before, old_before = accuracy(split.test), accuracy(chosen(old))
        for x, y in zip(int8_windows(split.adapt, graph), split.adapt.y, strict=True):
            step = host.train(x, int(y))
        host.apply()
        return Run(
            subject=job.subject,
            plan=job.plan,
            samples=job.samples,
            new_before=new_before,
            new_after=accuracy(split.test),
            old_before=old_before,
            old_after=accuracy(chosen(old)),
            steps=step.step,
            replay_bytes=0 if manifest.keeps is None else manifest.keeps.block_bytes,
        )


def rows(runs: list[Run]) -> list[list[str]]:
    """A table: plans and buffers, means over subjects with their 95 % interval."""
    titles = ["what learns", "past samples", "new user %", "points", "old users %", "points"]
    found = [[*titles, "worst, old", "replay B"]]
    for plan, samples in dict.fromkeys((r.plan, r.samples) for r in runs):
        mine = [r for r in runs if (r.plan, r.samples) == (plan, samples)]
        change = [r.old_after - r.old_before for r in mine]
        found.append(
            [
                plan,
                str(samples or "none"),
                f"{np.mean([r.new_after for r in mine]):.1f}",
                Interval.of(r.new_after - r.new_before for r in mine).gain,
                f"{np.mean([r.old_after for r in mine]):.1f}",
                Interval.of(change).gain,
                f"{min(change):+.1f}",
                f"{max(r.replay_bytes for r in mine):,}",
            ]
        )
    return found


def main() -> int:
    """Exit code 0, 1 when something failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--subjects", type=int, nargs="+", choices=SUBJECTS, default=SUBJECTS)
    parser.add_argument("--samples", type=int, nargs="+", default=SAMPLES, help="of the buffer")
    parser.add_argument("--per-step", type=int, default=1, help="past samples a new one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at once")
    parser.add_argument("--json", action="store_true", help="every run as JSON")
    arguments = parser.parse_args()
    progress = Console(stderr=True, highlight=False)
    console = Console(highlight=False, soft_wrap=True)
    try:
        for subject in arguments.subjects:
            make_factory_model(subject)
        jobs = [
            Job(subject, plan, samples, arguments.per_step)
            for plan in CHOSEN
            for samples in arguments.samples
            for subject in arguments.subjects
        ]
        fresh = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork
        runs = []
        with ProcessPoolExecutor(arguments.jobs, mp_context=fresh) as pool:
            for done, result in enumerate(pool.map(run, jobs), 1):
                runs.append(result)
                if done % len(arguments.subjects) == 0:
                    progress.print(f"{done} of {len(jobs)} runs")
    except TinykitError as error:
        return failed(error)
    if arguments.json:
        print(json.dumps([asdict(r) for r in runs], indent=1))
        return 0
    print_table(console, rows(runs))
    console.print(
        f"{len(arguments.subjects)} subjects; before: new user "
        f"{np.mean([r.new_before for r in runs]):.1f} %, old users "
        f"{np.mean([r.old_before for r in runs]):.1f} %; points with their 95 % interval"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
