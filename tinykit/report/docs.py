"""The pages of docs/ that are printed by the code: `python -m tinykit.report.docs docs`.

A test compares the files with what is printed here, so that they cannot go out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import get_args

from tinykit.config import Config

NOTE = "<!-- printed by `make docs`: edit the code, not this file -->"


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown; bars in cells are escaped."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def operators_page() -> str:
    """Which operators there are, what they come from, and which can learn."""
    from tinykit.ops.registry import operators

    imported = sorted((op for op in operators().values() if op.tflite), key=lambda op: op.kind)
    internal = sorted((op for op in operators().values() if not op.tflite), key=lambda op: op.kind)
    rows = [
        (op.kind, ", ".join(op.tflite), "yes" if op.trainable else "", op.note) for op in imported
    ]
    others = [(op.kind, op.note or _first_line(op)) for op in internal]
    return "\n\n".join(
        (
            NOTE,
            "# Operators",
            "Each is one file in `tinykit/ops`, one C kernel and one test.",
            markdown_table(("operator", "TFLite", "has weights that can learn", "notes"), rows),
            "## Made by tinykit: backward pass, loss, updates",
            markdown_table(("operator", "notes"), others),
        )
    )


def _first_line(thing: object) -> str:
    """What the file that defines it says it is."""
    doc = sys.modules[type(thing).__module__].__doc__ or ""
    return doc.strip().splitlines()[0].strip() if doc.strip() else ""


def configuration_page() -> str:
    """Every section and key of tinykit.toml, with defaults."""
    parts = [NOTE, "# tinykit.toml", (sys.modules[Config.__module__].__doc__ or "").strip()]
    for name, field in Config.model_fields.items():
        section = field.annotation
        assert section is not None
        heading, _, rest = (section.__doc__ or "").strip().partition(": ")
        parts.append(f"## {heading}")
        parts.append(" ".join(rest.split()))
        rows = [
            (f"`{key}`", _type_name(item.annotation), _default(item.default))
            for key, item in section.model_fields.items()
        ]
        parts.append(markdown_table(("key", "type", "default"), rows))
        assert name in heading
    return "\n\n".join(parts)


def _type_name(annotation: object) -> str:
    choices = [part for part in get_args(annotation) if part is not type(None)]
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(f'"{choice}"' for choice in choices)
    if choices:
        return _type_name(choices[0])
    return {"str": "text", "bool": "true or false", "int": "bytes"}.get(
        getattr(annotation, "__name__", ""), str(annotation)
    )


def _default(value: object) -> str:
    return (
        "none" if value is None else f"`{str(value).lower() if value in (True, False) else value}`"
    )


def boards_page() -> str:
    """The boards that come with tinykit."""
    from tinykit.boards import list_boards
    from tinykit.report.boards import TITLES, board_rows

    boards = list_boards()
    notes = [f"- **{board.name}**, {board.title}. {board.notes}" for board in boards]
    return "\n\n".join(
        (
            NOTE,
            "# Boards",
            "One JSON manifest each in `boards/`; SRAM and flash are the budgets that the linker "
            "enforces. `tinykit boards NAME` tells more; your own is named by its path.",
            markdown_table(TITLES, board_rows(boards)),
            "\n".join(notes),
        )
    )


PAGES: dict[str, Callable[[], str]] = {
    "operators.md": operators_page,
    "boards.md": boards_page,
    "configuration.md": configuration_page,
}


def write_pages(folder: Path) -> None:
    """Write every page into the folder."""
    for name, page in PAGES.items():
        (folder / name).write_text(page() + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
