"""Reports about project folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tinykit.report.report import Column, Report, Table


def examples_report(examples: Mapping[str, str]) -> Report:
    """The examples that `tinykit new` can start from."""
    table = Table((Column("example"), Column("what it is")), tuple(examples.items()))
    return Report({"examples": dict(examples)}, (table,))


def new_report(directory: Path, files: Sequence[Path]) -> Report:
    """The files a new project starts with, and what to do next."""
    names = [str(path.relative_to(directory)) for path in files]
    lines = (
        f"{directory}: {len(names)} files",
        *(f"  {name}" for name in names),
        f"Next: cd {directory}, read README.md and tinykit.toml, then `tinykit doctor`.",
    )
    return Report({"directory": str(directory), "files": names}, lines)
