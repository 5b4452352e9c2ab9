"""What there is to say of operators: for docs/operators.md, and for those of one model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinykit.ops.base import Operator
from tinykit.report.report import Column, Table

TITLES = ("operator", "activations", "gradient", "kernels", "golden", "notes")


def operator_row(op: Operator[Any]) -> tuple[str, ...]:
    """In the order of TITLES."""
    gradient = ("yes, learns" if op.trainable else "yes") if op.differentiable else ""
    kernels = "no code" if op.alias else ", ".join(filter(None, ("portable", op.cores)))
    types = ", ".join(["int8"] * (not op.int16 or bool(op.tflite)) + ["int16"] * bool(op.int16))
    golden = op.golden if op.tflite or op.int16 else ""
    return (op.kind, types, gradient, kernels, golden, op.note)


def operators_table(ops: Iterable[Operator[Any]]) -> Table:
    """The same without notes, which are too wide for a terminal."""
    rows = tuple(sorted({operator_row(op)[:-1] for op in ops}))
    return Table(tuple(Column(title) for title in TITLES[:-1]), rows, title="Operators")
