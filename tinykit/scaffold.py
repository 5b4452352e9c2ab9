"""`tinykit new`: a project folder that starts as a copy of an example."""

from __future__ import annotations

import shutil
from pathlib import Path

from tinykit.errors import TinykitError, UsageError
from tinykit.resources import resource_path

DEFAULT_EXAMPLE = "gesture_personalization"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "build", ".pio", ".cache")


def examples() -> dict[str, str]:
    """Name of each example, and the first line of its README."""
    folder = resource_path("examples")
    found = sorted(p for p in folder.glob("*") if (p / "tinykit.toml").is_file())
    return {path.name: _title(path / "README.md") for path in found}


def new_project(directory: Path, example: str = DEFAULT_EXAMPLE) -> list[Path]:
    """Copy an example into `directory`; the files made. Nothing that exists is overwritten."""
    known = examples()
    if example not in known:
        raise UsageError(
            f"there is no example `{example}`", f"examples: {', '.join(known) or 'none found'}"
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise TinykitError(
            f"{directory} exists and is not an empty folder", "nothing was changed; name a new one"
        )
    shutil.copytree(
        resource_path("examples") / example, directory, ignore=_LEFT_OUT, dirs_exist_ok=True
    )
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _title(readme: Path) -> str:
    if not readme.is_file():
        return ""
    lines = readme.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ").strip() for line in lines if line.strip()), "")
