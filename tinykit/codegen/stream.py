"""C text of streamed segments: the ops of a run, each guarded by what its next row waits for.

    for (;;) {
        if (row[1] < 25 && row[0] > row[1]) {   the latest op whose input rows are there …
            …one row…
            row[1]++;
            continue;
        }
        if (row[0] < 25) { … }                  … else the one before
        break;
    }

`row` counts what each op has done; `slot` is that count modulo the rows of a ring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tinykit.ops.base import Call
from tinykit.ops.registry import operator
from tinykit.ops.rows import Reach, RingRows, Row, RowForm
from tinykit.schedule import Program, Segment
from tinykit.schedule.facts import SOURCE

CALL_WEIGHT = 3  # calls that one row call counts for in the bound on code: guard, counters, loop


@dataclass
class SegmentWriter:
    """Writes the loop of one segment.

    pointer: the C expression for where a tensor lies
    """

    program: Program
    segment: Segment
    pointer: Callable[[str], str]
    slots: dict[tuple[int, int], int] = field(default_factory=dict)  # (op, ring) -> index
    forms: dict[int, RowForm] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.program.graph
        for index in range(self.segment.first, self.segment.last + 1):
            op = graph.ops[index]
            form = operator(op.kind).rows(graph, op)
            assert form is not None
            self.forms[index] = form
            for argument in form.call.arguments:
                if isinstance(argument, Row):
                    self._slot(index, argument.tensor)
        if self.begin == SOURCE:
            self._slot(SOURCE, graph.inputs[0])

    @property
    def begin(self) -> int:
        """The op that row[0] counts; SOURCE if the input's rows arrive one by one."""
        return SOURCE if SOURCE in self.segment.steps else self.segment.first

    @property
    def counter(self) -> str:
        """The type that counts rows."""
        most = max((form.steps for form in self.forms.values()), default=0)
        if self.begin == SOURCE:
            most = max(most, self._height(self.program.graph.inputs[0]))
        return "uint8_t" if most < 256 else "uint16_t"

    @property
    def counters(self) -> tuple[int, int]:
        """How many of `row` and of `slot` there are."""
        return self.segment.last + 1 - self.begin, len(self.slots)

    def row(self, index: int) -> str:
        return f"row[{index - self.begin}]"

    def _height(self, name: str) -> int:
        shape = self.program.graph[name].shape
        return shape[1] if len(shape) == 4 else 1

    def _slot(self, index: int, name: str) -> int | None:
        """The slot counter of op `index` for a tensor; None where the row number does."""
        rows = self.segment.rings.get(name)
        if rows is None or rows == 1:
            return None
        return self.slots.setdefault((index, rows), len(self.slots))

    # --- addresses ------------------------------------------------------------------------------

    def row_pointer(self, index: int, name: str) -> str:
        """Where the row of a tensor lies that op `index` makes or reads next."""
        size = self.program.graph[name].bytes // self._height(name)
        slot = self._slot(index, name)
        if slot is not None:
            return f"{self.pointer(name)} + slot[{slot}] * {size}"
        if self._height(name) == 1 or self.segment.rings.get(name) == 1:
            return self.pointer(name)
        return f"{self.pointer(name)} + {self.row(index)} * {size}"

    def argument(self, index: int, argument: str | int | Row | RingRows) -> str | None:
        """An argument that only row calls have; None for others."""
        if isinstance(argument, Row):
            return f"(void *)({self.row_pointer(index, argument.tensor)})"
        if isinstance(argument, RingRows):
            whole = self._height(argument.tensor)
            return str(self.segment.rings.get(argument.tensor, whole))
        return self.row(index) if argument == "$row" else None

    # --- statements -----------------------------------------------------------------------------

    def guard(self, index: int) -> str:
        """The condition under which op `index` can make its next row."""
        form = self.forms[index]
        parts = [f"{self.row(index)} < {form.steps}"]
        for name, reach in form.reads.items():
            maker = self._maker(name)
            if maker is not None:
                folds = maker != SOURCE and bool(self.forms[maker].sums)
                steps = self.forms[maker].steps if maker != SOURCE else self._height(name)
                if folds:
                    parts.append(f"{self.row(maker)} == {steps}")
                else:
                    parts.append(self._there(index, maker, reach, steps))
        return " && ".join(dict.fromkeys(parts))

    def _maker(self, name: str) -> int | None:
        """The op of this segment that makes a tensor."""
        graph = self.program.graph
        if name in graph.inputs:
            return SOURCE if self.begin == SOURCE else None
        for index in range(self.segment.first, self.segment.last + 1):
            if name in graph.ops[index].outputs:
                return index
        return None

    def _there(self, index: int, maker: int, reach: Reach, height: int) -> str:
        made, mine = self.row(maker), self.row(index)
        scaled = mine if reach.stride == 1 else f"{reach.stride} * {mine}"
        more = reach.span - reach.before
        if more == 1:
            text = f"{made} > {scaled}"
        else:
            text = f"{made} >= {scaled}" + (
                f" {'+' if more > 0 else '-'} {abs(more)}" if more else ""
            )
        last = (self.forms[index].steps - 1) * reach.stride + more
        return text if last <= height else f"({text} || {made} == {height})"

    def advance(self, index: int) -> list[str]:
        """Count the row."""
        lines = [
            f"if (++slot[{slot}] == {rows}) {{ slot[{slot}] = 0; }}"
            for (op, rows), slot in self.slots.items()
            if op == index
        ]
        return [*lines, f"{self.row(index)}++;"]

    def trace(self, index: int) -> list[str]:
        """The trace point of a row, or of the whole result of a folding op."""
        (name,) = self.program.graph.ops[index].outputs
        size, form = self.program.graph[name].bytes, self.forms[index]
        if not form.sums:
            size //= self._height(name)
            return [f"TK_TRACE_POINT({index}, {self.row_pointer(index, name)}, {size});"]
        point = f"TK_TRACE_POINT({index}, {self.pointer(name)}, {size});"
        return [f"if ({self.row(index)} == {form.steps - 1}) {{ {point} }}"]

    def loop(self, comment: Callable[[int], str], call: Callable[[int, Call], str]) -> list[str]:
        """The loop that runs until no op of the segment can run any more."""
        lines = ["for (;;) {"]
        for index in range(self.segment.last, self.segment.first - 1, -1):
            body = [call(index, self.forms[index].call), *self.trace(index), *self.advance(index)]
            lines += [
                f"    /* {comment(index)} */",
                f"    if ({self.guard(index)}) {{",
                *(f"        {line}" for line in [*body, "continue;"]),
                "    }",
            ]
        return [*lines, "    break;", "}"]

    def declarations(self) -> list[str]:
        """Local counters, all zero."""
        rows, slots = self.counters
        lines = [f"{self.counter} row[{rows}] = {{0}};"]
        return lines + ([f"{self.counter} slot[{slots}] = {{0}};"] if slots else [])
