"""What is going on, on stderr: one moving line on a terminal, one line per stage elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


class Stages:
    """A context in which stages follow each other; each call of `advance` is of the latest one."""

    def __init__(self, title: str) -> None:
        self.title = title
        console = Console(file=sys.stderr, highlight=False)
        self._lines = not console.is_terminal
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._bar = Progress(*columns, console=console, transient=True, disable=self._lines)
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def stage(self, what: str) -> None:
        """The next stage begins."""
        if self._lines:
            print(f"{self.title}: {what} …", file=sys.stderr, flush=True)
        self._bar.reset(self._task, total=None, description=f"{self.title}: {what}")

    def advance(self, done: int, total: int) -> None:
        """`done` of `total` parts of the stage are done."""
        self._bar.update(self._task, completed=done, total=total)
