"""Which cells there are: rates to choose from, the comparison, the ablation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.measuring.accuracy.problem import Task
from bench.measuring.accuracy.store import ENGINES, Cell, Result

SEEDS = range(5)
SMALL = "wand"  # the ablation's small task, beside signs
ACCUMULATED = 4
ABLATED = "sparse"  # the way whose parts are taken away


@dataclass(frozen=True)
class Variant:
    """One change: of the optimizer or of the head; rate: by how much the rate is multiplied."""

    title: str
    engine: str = "integer"
    changes: tuple[tuple[str, Any], ...] = ()
    rates: tuple[float, ...] = (1.0,)
    case: str | None = None
    tasks: tuple[str, ...] = ("signs", SMALL)


VARIANTS = (
    Variant("as the plan has it: int16 master, stochastic rounding, int16 gradients"),
    Variant("rounding to nearest", changes=(("rounding", "nearest"),)),
    Variant("int8 master, stochastic", changes=(("master", "int8"),)),
    Variant("int8 master, to nearest", changes=(("master", "int8"), ("rounding", "nearest"))),
    Variant("int32 master", changes=(("master", "int32"),)),
    Variant(
        f"{ACCUMULATED} samples accumulated, {ACCUMULATED} times the rate",
        changes=(("accumulate", ACCUMULATED),),
        rates=(float(ACCUMULATED),),
    ),
    Variant(
        f"{ACCUMULATED} samples accumulated, the same rate", changes=(("accumulate", ACCUMULATED),)
    ),
    Variant("float32 gradients in the engine", changes=(("gradients", "float32"),)),
    Variant("int8 gradients", changes=(("gradients", "int8"),)),
    Variant("float32 throughout (TensorFlow)", engine="float32"),
    Variant(
        "float32, without the scaling: steps in int8 units, not real ones",
        engine="float32",
        changes=(("units", "int8"),),
        rates=(1.0, 10.0, 0.1),
    ),
    Variant("the ImageNet head's first ten rows, no fresh head", case="imagenet", tasks=("signs",)),
)


def validation(task: Task, seeds: Iterable[int] = (0,)) -> list[Cell]:
    """Every rate of every way, learnt from a part of the training samples."""
    return [
        Cell(
            task.name,
            case,
            name,
            "integer",
            seed,
            rate,
            way.epochs,
            validation=True,
            warmup=way.warmup,
        )
        for name, way in task.ways.items()
        for rate in way.rates
        for case in task.cases
        for seed in seeds
    ]


def chosen(task: Task, way: str, results: Iterable[Result]) -> tuple[float, bool]:
    """The rate of a way, and whether validation chose it: the best mean over all cases, of equals
    the smallest; without validation the middle one of those to be tried."""
    found: dict[float, list[float]] = {}
    for result in results:
        cell = result.cell
        if cell.validation and not cell.changes and is_of(cell, task, way):
            found.setdefault(cell.rate, []).append(result.after)
    rates = task.ways[way].rates
    if not found:
        return sorted(rates)[len(rates) // 2], False
    most = max(len(values) for values in found.values())
    whole = {rate: float(np.mean(v)) for rate, v in found.items() if len(v) == most}
    return max(sorted(whole), key=lambda rate: whole[rate]), True


def is_of(cell: Cell, task: Task, way: str) -> bool:
    """Whether a cell is of a way as it stands now."""
    settled = task.ways[way]
    return (cell.task, cell.way, cell.epochs, cell.warmup) == (
        task.name, way, settled.epochs, settled.warmup
    )  # fmt: skip


def comparison(
    task: Task, results: Sequence[Result], seeds: Iterable[int] = SEEDS, ways: Iterable[str] = ()
) -> list[Cell]:
    """Every way by both engines; seed by seed, so that what is stopped early is of use."""
    return [
        Cell(task.name, case, way, engine, seed, chosen(task, way, results)[0],
             task.ways[way].epochs, warmup=task.ways[way].warmup)
        for seed in seeds
        for way in ways or task.ways
        for engine in ENGINES
        for case in task.cases
    ]  # fmt: skip


def ablation(task: Task, results: Sequence[Result], seeds: Iterable[int] = SEEDS) -> list[Cell]:
    """Every variant of the way ABLATED that the task has."""
    rate = chosen(task, ABLATED, results)[0]
    return [
        cell
        for seed in seeds
        for variant in VARIANTS
        if task.name in variant.tasks
        for cell in variant_cells(task, variant, rate, seed)
    ]


def variant_cells(task: Task, variant: Variant, rate: float, seed: int) -> list[Cell]:
    """One for each case and rate."""
    return [
        Cell(task.name, case, ABLATED, variant.engine, seed, rate * factor,
             task.ways[ABLATED].epochs, changes=dict(variant.changes),
             warmup=task.ways[ABLATED].warmup)
        for factor in variant.rates
        for case in ((variant.case,) if variant.case else task.cases)
    ]  # fmt: skip


def same_changes(cell: Cell, variant: Variant) -> bool:
    """Whether a result is of this variant, whatever its rate."""
    return json.dumps(cell.changes, sort_keys=True) == json.dumps(
        dict(variant.changes), sort_keys=True
    )
