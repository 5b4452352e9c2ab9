"""Runs cells: what learns what, by which arithmetic, from which seed."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.measuring.accuracy.engine import Prepared, features, learn, prepare, with_head
from bench.measuring.accuracy.problem import Labelled, Problem, Task, orders
from bench.measuring.accuracy.store import Cell, Result, Store
from bench.measuring.accuracy.tasks import task_of
from tinykit.codegen.generate import graphs
from tinykit.training.features import divide
from tinykit.training.plan import Plan

UNITS = "units"  # the change that takes the scaling away: float32 only


@dataclass(frozen=True)
class Job:
    """Cells that share everything but seed and rate, for one process."""

    cells: tuple[Cell, ...]
    cache: Path

    @property
    def name(self) -> str:
        cell = self.cells[0]
        ways = ", ".join(dict.fromkeys(cell.way for cell in self.cells))
        return f"{cell.task} {cell.case}: {ways} ({cell.engine})"


def jobs(cells: Sequence[Cell], store: Store, cache: Path) -> list[Job]:
    """The cells without a result, together where they share their preparation, in given order."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        if store.get(cell) is None:
            shared = replace(cell, seed=0, rate=0.0, epochs=0)
            if not task_of(cell.task).apart:
                shared = replace(shared, way="", changes={})
            found.setdefault(shared.key, []).append(cell)
    return [Job(tuple(group), cache) for group in found.values()]


def run_all(todo: Sequence[Job], store: Store, processes: int) -> Iterator[str]:
    """Run jobs in processes of their own; yields the name of each that is done."""
    fresh = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork
    with ProcessPoolExecutor(processes, mp_context=fresh, max_tasks_per_child=1) as pool:
        waiting = {pool.submit(run_job, job, store.folder): job for job in todo}
        try:
            for future in as_completed(waiting):
                future.result()
                yield waiting[future].name
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def run_job(job: Job, results: Path) -> None:
    """All cells of a job; each result is kept at once, and told on stderr."""
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # jobs run side by side
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    store, first = Store(results), job.cells[0]
    task = task_of(first.task)
    problem = task.problem(first.case, job.cache)
    if first.validation:
        problem = problem.validation()
    commit = _commit()
    run = _integer if first.engine == "integer" else _float32
    alike: dict[str, list[Cell]] = {}
    for cell in job.cells:
        alike.setdefault(f"{cell.way} {cell.changes}", []).append(cell)
    for cells in alike.values():
        for result in run(cells, task, problem, job.cache):
            result = replace(result, tests=len(problem.test), commit=commit)
            store.put(result)
            cell = result.cell
            changes = "".join(f" {key}={value}" for key, value in cell.changes.items())
            print(
                f"accuracy: {cell.task} {cell.case}, {cell.way}{changes}, {cell.engine}, "
                f"seed {cell.seed}, rate {cell.rate:g}: {result.before:.1f} -> "
                f"{result.after:.2f} %, {result.steps} steps in {result.seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )


def _plan(task: Task, cell: Cell, problem: Problem) -> Plan:
    changes = {key: value for key, value in cell.changes.items() if key != UNITS}
    return task.ways[cell.way].plan(cell.rate, cell.seed, len(problem.train), **changes)


def _integer(cells: list[Cell], task: Task, problem: Problem, cache: Path) -> Iterator[Result]:
    work = cache / "work" / cells[0].key
    prepared: Prepared | None = None
    for cell in cells:
        plan = _plan(task, cell, problem)
        prepared = prepared or prepare(problem, plan, work, cache)
        order = orders(len(prepared.train), cell.epochs, cell.seed)
        head = problem.head(cell.seed) if problem.head else None
        found = learn(prepared, plan, head, order, work)
        yield Result(
            cell, found.before, found.after, found.steps, found.seconds, 0, found.saturations
        )


def _float32(cells: list[Cell], task: Task, problem: Problem, cache: Path) -> Iterator[Result]:
    from bench.measuring.accuracy.floats import FloatNetwork

    parts = divide(problem.graph, _plan(task, cells[0], problem))
    train, test = (
        Labelled(features(parts.prefix, part.x, cache / "work" / cells[0].key, cache), part.y)
        for part in (problem.train, problem.test)
    )
    graph, _ = graphs(parts.suffix, parts.plan)
    network = FloatNetwork(graph)
    for cell in cells:
        head = problem.head(cell.seed) if problem.head else None
        values = network.initial(with_head(graph, head))
        before = 100 * float(np.mean(network.classify(values, test.x) == test.y))
        order = orders(len(train), cell.epochs, cell.seed)
        start = time.perf_counter()
        values = network.train(
            values, train.x, train.y, order, _plan(task, cell, problem).optimizer,
            scaled=UNITS not in cell.changes,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        after = 100 * float(np.mean(network.classify(values, test.x) == test.y))
        yield Result(cell, before, after, len(order), seconds, 0)


def _commit() -> str:
    result = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parent, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    )  # fmt: skip
    return result.stdout.strip()
