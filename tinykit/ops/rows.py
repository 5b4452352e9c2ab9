"""How an operator makes its output row by row, for streaming segments.

A row is what lies under one index of the height axis of an NHWC tensor with batch 1.  An operator
with a row form states which input rows each of its steps reads, and the C call of one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tinykit.ir import Tensor

if TYPE_CHECKING:
    from tinykit.ops.base import Call


@dataclass(frozen=True)
class Row:
    """An argument of a row call: the address of the tensor's row that the step reads or makes."""

    tensor: str


@dataclass(frozen=True)
class RingRows:
    """An argument of a row call: how many rows the memory of a tensor holds (H if it is whole)."""

    tensor: str


@dataclass(frozen=True)
class Reach:
    """Step n reads the rows [n * stride - before, n * stride - before + span) that exist."""

    stride: int = 1
    before: int = 0
    span: int = 1

    def first(self, step: int, height: int) -> int:
        return min(max(step * self.stride - self.before, 0), height)

    def last(self, step: int, height: int) -> int:
        """One past the last row."""
        return min(max(step * self.stride - self.before + self.span, 0), height)


@dataclass(frozen=True)
class RowForm:
    """An operator as a sequence of `steps`; step n makes row n of the output.

    reads:    which rows of each arena tensor that it reads, by name
    call:     one step; beside what other calls have: Row, RingRows, and the words "$row" (the
              step's number) and "$sums"
    sums:     bytes that a folding operator keeps from its first step to its last ("$sums"); it
              consumes one input row a step and makes its whole output in the last one
    ordered:  the call for the whole tensor makes the rows from top to bottom, too, so that its
              output may follow behind the input rows that are still needed
    overhead: instructions of a step more than the row costs in the call for the whole tensor
    """

    steps: int
    reads: Mapping[str, Reach]
    call: Call
    sums: int = 0
    ordered: bool = True
    overhead: int = 60


def has_rows(*tensors: Tensor) -> bool:
    """Whether all are NHWC with batch 1."""
    return all(len(t.shape) == 4 and t.shape[0] == 1 for t in tensors)


def row_call(call: Call) -> Call:
    """A kernel's row function for the call of its whole-tensor function.

    `tk_…_s8(op, x, y, …)` makes all rows, `tk_…_row_s8(op, x, rows of x, row, y, …)` one of them;
    so with s16.
    """
    x, y, *more = call.arguments
    assert isinstance(x, str)
    assert isinstance(y, str)
    return replace(
        call,
        function="_row_".join(call.function.rsplit("_", 1)),
        arguments=(x, RingRows(x), "$row", Row(y), *more),
    )
