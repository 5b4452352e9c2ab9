"""The pages of docs/ that are printed by the code: `python -m tinykit.report.docs docs`.

A test compares the files with what is printed here, so that they cannot go out of date.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tinykit.config import Config
from tinykit.report.operators import TITLES, operator_row

NOTE = "<!-- printed by `make docs`: edit the code, not this file -->"


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown; bars in cells are escaped."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def operators_page() -> str:
    """Which operators there are, what they come from, and which can learn."""
    from tinykit.ops.registry import operators, tflite_operators

    every = sorted(operators().values(), key=lambda op: op.kind)
    imported = [op for op in every if op.tflite or op.int16]
    internal = [op for op in every if op not in imported]
    rows = [
        (row[0], ", ".join(op.tflite or op.int16), *row[1:])
        for op in imported
        for row in [operator_row(op)]
    ]
    others = [(op.kind, op.note or _first_line(op)) for op in internal]
    return "\n\n".join(
        (
            NOTE,
            "# Operators",
            "Each is one file in `tinykit/ops`, one C kernel and one test. Gradient: whether "
            "training goes through it, and whether weights of its own can learn. Activations: "
            "int16 is int16x8, with int8 weights and 64-bit sums (`tinykit quantize --int16`), "
            f"which infers only, by way of {', '.join(sorted(tflite_operators(int16=True)))}; its "
            "kernels are in portable C, those of CONV_2D and FULLY_CONNECTED with the DSP "
            "instructions where there are some. "
            "Kernels: in "
            "portable C, "
            "and with instructions of their own for ARMv6-M (M0+), ARMv7E-M or DSP (M4, M7, M33), "
            "Helium (M55). Golden: what inference equals bit for bit, TFLM (TensorFlow Lite Micro) "
            "or, where that has no int8 kernel, tflite-runtime's reference kernels.",
            markdown_table((TITLES[0], "TFLite", *TITLES[1:]), rows),
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
    for field in Config.model_fields.values():
        section = field.annotation
        assert isinstance(section, type)
        heading, _, rest = (section.__doc__ or "").strip().partition(": ")
        parts += [f"## {heading}", _sentence(rest), _keys(section)]
        for inner in _tables(section):
            heading, _, rest = (inner.__doc__ or "").strip().partition(": ")
            parts += [f"### {heading}", _sentence(rest), _keys(inner)]
    return "\n\n".join(parts)


def plans_page() -> str:
    """The update plan's TOML file: an example, and every key."""
    from tinykit.passes import adapters
    from tinykit.training import contribution, learnt, search
    from tinykit.training.plan import Guard, Optimizer, Plan, Replay, Residual, Training, Update

    paragraphs = _paragraphs(sys.modules[Plan.__module__])
    parts = [NOTE, "# Update plans", *paragraphs]
    sections = {
        "[optimizer]": Optimizer,
        "[training]": Training,
        "[replay]": Replay,
        "[guard]": Guard,
        "[[update]]": Update,
        "[[update]] residual": Residual,
    }
    for heading, section in sections.items():
        parts += [f"## {heading}", _listed(inspect.getdoc(section) or ""), _keys(section)]
    parts += ["## Adapters: `rank` and `residual`", *_paragraphs(adapters)]
    parts += ["## `tinykit plan --resample`", *_paragraphs(learnt)]
    parts += ["## `tinykit plan --search`", *_paragraphs(search), *_paragraphs(contribution)]
    return "\n\n".join(parts)


def _paragraphs(module: ModuleType) -> list[str]:
    """What a module says about itself; indented lines stay as they are."""
    parts = (module.__doc__ or "").strip().split("\n\n")
    return [part if part.startswith("    ") else _sentence(part) for part in parts]


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text[:1].upper() + text[1:]


def _listed(doc: str) -> str:
    """Lines of the form `key: what it does` as a list."""
    return re.sub(r"^([a-z][a-z_, ]*): ", r"- \1: ", doc, flags=re.MULTILINE)


def _keys(section: type) -> str:
    """A table of the keys of a section (a pydantic model)."""
    fields = getattr(section, "model_fields")  # noqa: B009 - not every type has them
    rows = [
        (f"`{key}`", _type_name(item.annotation), _default(item)) for key, item in fields.items()
    ]
    return markdown_table(("key", "type", "default"), rows)


def _tables(section: type) -> list[type[BaseModel]]:
    """The sections that are keys of a section."""
    fields = getattr(section, "model_fields")  # noqa: B009 - not every type has them
    inner = [part for item in fields.values() for part in get_args(item.annotation)]
    return [part for part in inner if isinstance(part, type) and issubclass(part, BaseModel)]


_NAMES = {str: "text", bool: "true or false", int: "whole number", float: "number"}


def _type_name(annotation: object) -> str:
    if annotation in _NAMES:
        return _NAMES[annotation]
    parts = [part for part in get_args(annotation) if part not in (type(None), ...)]
    if any(isinstance(part, type) and issubclass(part, BaseModel) for part in parts):
        return "table"
    if parts and all(isinstance(part, str | int) for part in parts):
        return ", ".join(f'"{part}"' if isinstance(part, str) else str(part) for part in parts)
    if get_origin(annotation) is tuple:
        return "list of " + _type_name(parts[0])
    return " or ".join(
        dict.fromkeys(_type_name(part) for part in parts if part in _NAMES or get_args(part))
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.default
    if value is None:
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


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
    "plans.md": plans_page,
    "configuration.md": configuration_page,
}


def write_pages(folder: Path) -> None:
    """Write every page into the folder."""
    for name, page in PAGES.items():
        (folder / name).write_text(page() + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
