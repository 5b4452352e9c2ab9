"""Engines that a reader can install, on the same counter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinykit.boards import Board


@dataclass(frozen=True)
class Peer:
    """What an engine took for a model, or what it says where it does not take it."""

    engine: str
    model: str
    instructions: int | None
    said: str

    def data(self) -> dict[str, Any]:
        """For --json."""
        return {"engine": self.engine, "model": self.model, "instructions": self.instructions,
                "said": self.said}  # fmt: skip

    def lines(self) -> list[str]:
        """For a person."""
        count = "" if self.instructions is None else f"{self.instructions:,} instructions; "
        return [f"{self.engine}, {self.model}: {count}{self.said}"]


def run(board: Board, work: Path, models: Mapping[str, Path]) -> list[Peer]:
    """Every engine on every model."""
    return []
