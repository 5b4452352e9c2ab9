"""Finished results, one small file for each: a run goes on where it was stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ENGINES = ("integer", "float32")


@dataclass(frozen=True)
class Cell:
    """What one result is of. changes: of the optimizer, beside rate and seed; validation: learnt
    from a part of the training samples and measured on the rest of them; warmup: steps, as in a
    plan."""

    task: str
    case: str
    way: str
    engine: str
    seed: int
    rate: float
    epochs: int
    validation: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    warmup: int = 0

    @property
    def key(self) -> str:
        """The same for equal cells, in every process."""
        said = {name: value for name, value in asdict(self).items() if value or name != "warmup"}
        text = json.dumps(said, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Result:
    """Accuracies in % of the test samples; `commit` of the checkout that made it."""

    cell: Cell
    before: float
    after: float
    steps: int
    seconds: float
    tests: int
    saturations: int = 0
    commit: str = ""


class Store:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, cell: Cell) -> Result | None:
        """The result of a cell; None where there is none that can be read."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return result_of(json.loads((self.folder / f"{cell.key}.json").read_text()))
        return None

    def put(self, result: Result) -> None:
        """Keep it; whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{result.cell.key}.json"
        partial = path.with_suffix(f".{os.getpid()}.part")
        partial.write_text(json.dumps(asdict(result)))
        partial.replace(path)

    def all(self) -> list[Result]:
        """Every result, in an order that does not depend on when it was made."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found.append(result_of(json.loads(path.read_text())))
        return in_order(found)

    def fill(self, results: Iterable[Result]) -> None:
        """Take over results that are not there yet."""
        for result in results:
            if self.get(result.cell) is None:
                self.put(result)


def result_of(data: dict[str, Any]) -> Result:
    """The inverse of asdict."""
    return Result(**{**data, "cell": Cell(**data["cell"])})


def in_order(results: Iterable[Result]) -> list[Result]:
    """By task, case, way, engine, changes, rate, seed."""

    def key(result: Result) -> tuple[object, ...]:
        cell = result.cell
        return (cell.task, cell.validation, cell.case, cell.way, sorted(cell.changes.items()),
                cell.engine, cell.rate, cell.seed)  # fmt: skip

    return sorted(results, key=lambda result: json.dumps(key(result)))
