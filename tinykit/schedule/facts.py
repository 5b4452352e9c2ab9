"""What the planner has to know of a graph in a fixed order, looked up once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call
from tinykit.ops.registry import operator
from tinykit.ops.rows import RowForm

ALIGNMENT = 4  # bytes; every buffer starts on a word
SOURCE = -1  # stands for the op that makes the graph's inputs


def aligned(size: int) -> int:
    """`size` in bytes, rounded up to whole words."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def scratch_name(op: Op) -> str:
    return f"scratch of {op.name}"


def sums_name(op: Op) -> str:
    return f"sums of {op.name}"


def scratch_bytes(graph: Graph, op: Op) -> int:
    """Scratch that the op's calls need: the largest, since they run one after the other."""
    if operator(op.kind).alias:
        return 0
    return max((call.scratch for call in operator(op.kind).lower(graph, op)), default=0)


@dataclass
class Facts:
    """Ops by their index in the order; tensors by their root, the first of all views of the bytes.

    input_rows: the input arrives row by row, made by the op SOURCE.
    forms, calls: of each op
    maker:        index of the op that makes a root
    views:        all tensors that lie in a root's bytes, itself first
    readers:      (op, the view that it reads) of a root, in order
    kept:         roots that are needed after the last op
    last:         index of the last op that needs a root; the number of ops for those that are kept
    """

    graph: Graph
    keep_input: bool = False
    input_rows: bool = False
    forms: list[RowForm | None] = field(init=False)
    calls: list[tuple[Call, ...]] = field(init=False)
    root: dict[str, str] = field(init=False)
    views: dict[str, list[str]] = field(init=False)
    maker: dict[str, int] = field(init=False)
    readers: dict[str, list[tuple[int, str]]] = field(init=False)
    kept: set[str] = field(init=False)
    made_by: dict[int, list[str]] = field(init=False)
    last: dict[str, int] = field(init=False)
    _reaches: dict[tuple[int, str], tuple[Array, Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.graph
        rules = [operator(op.kind) for op in graph.ops]
        pairs = list(zip(rules, graph.ops, strict=True))
        self.forms = [None if rule.alias else rule.rows(graph, op) for rule, op in pairs]
        self.calls = [() if rule.alias else rule.lower(graph, op) for rule, op in pairs]
        self.root = {name: name for name in graph.inputs}
        self.maker = dict.fromkeys(graph.inputs, SOURCE)
        self.readers = {name: [] for name in graph.inputs}
        for index, (rule, op) in enumerate(pairs):
            if rule.alias:
                self.root[op.outputs[0]] = self.root.get(op.inputs[0], op.outputs[0])
                continue
            for name in dict.fromkeys(op.reads):
                if graph[name].storage == "arena":
                    self.readers[self.root[name]].append((index, name))
            for name in op.outputs:
                self.root[name], self.maker[name], self.readers[name] = name, index, []
        self.views = {}
        for name, root in self.root.items():
            self.views.setdefault(root, []).append(name)
        kept = (*graph.outputs, *graph.inputs) if self.keep_input else graph.outputs
        self.kept = {self.root[name] for name in kept}
        self.made_by = {}
        for name, index in self.maker.items():
            self.made_by.setdefault(index, []).append(name)
        self.last = {name: self._last_use(name) for name in self.maker}

    def bytes(self, root: str) -> int:
        return self.graph[root].bytes

    def rows(self, name: str) -> int:
        """Rows of a tensor as its reader or maker sees it."""
        shape = self.graph[name].shape
        return shape[1] if len(shape) == 4 and shape[0] == 1 else 1

    def waits(self, index: int, name: str) -> Array:
        """For each step of op `index`: how many rows of a tensor have to be there."""
        return self._reach(index, name)[0]

    def needs(self, index: int, name: str) -> Array:
        """For each count of steps that op `index` has done: the first row that it still needs."""
        return self._reach(index, name)[1]

    def _reach(self, index: int, name: str) -> tuple[Array, Array]:
        if (index, name) not in self._reaches:
            form, height = self.forms[index], self.rows(name)
            assert form is not None
            steps, reach = range(form.steps), form.reads[name]
            first = np.array([*(reach.first(step, height) for step in steps), height])
            last = np.array([reach.last(step, height) for step in steps])
            self._reaches[index, name] = last, first
        return self._reaches[index, name]

    def _last_use(self, root: str) -> int:
        if root in self.kept:
            return len(self.graph.ops)
        return max(0, self.maker[root], *(index for index, _ in self.readers[root]))

    def dies_at(self, root: str, index: int) -> bool:
        """Whether op `index` is the last that needs a tensor."""
        return self.last[root] == index

    def overwritten(self, index: int) -> str | None:
        """The input that op `index`, run by itself, writes its first output over."""
        op = self.graph.ops[index]
        position = operator(op.kind).overwrites(self.graph, op)
        if position is None or operator(op.kind).alias or not op.outputs:
            return None
        root = self.root.get(op.inputs[position])
        if root is None or not self.dies_at(root, index):
            return None
        fits = self.bytes(root) >= self.bytes(op.outputs[0])
        return root if fits else None

    def scratch(self, index: int, streamed: bool) -> int:
        """Bytes of scratch of a step in a segment, or of the op by itself."""
        form = self.forms[index]
        calls = (form.call,) if streamed and form is not None else self.calls[index]
        return max((call.scratch for call in calls), default=0)

    def input_in_scratch(self, index: int) -> str | None:
        """The dying input that may lie in the tail of the scratch of op `index`, run by itself."""
        calls = self.calls[index]
        if len(calls) != 1 or not (calls[0].scratch_over_input and calls[0].scratch):
            return None
        root = self.root.get(self.graph.ops[index].inputs[0])
        return root if root is not None and self.dies_at(root, index) else None
