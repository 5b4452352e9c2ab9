"""Graphs: ops in an order that can be executed, over named tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tinykit.errors import ModelError
from tinykit.ir.tensor import Tensor

Phase = Literal["forward", "loss", "backward", "update"]


@dataclass(frozen=True)
class Attributes:
    """Base of every operator's attributes; each operator's file defines its own."""


@dataclass(frozen=True)
class Op:
    """One operation.

    inputs:  tensor names, in the operator's order; absent optional inputs are "".
    outputs: names of the arena tensors it makes.
    updates: names of the parameters or variables it changes in place (they are inputs as well);
             every reader of the old value has to run before.
    layer:   the name of the forward op it belongs to (its own name in the forward graph).
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes = field(default_factory=Attributes)
    updates: tuple[str, ...] = ()
    phase: Phase = "forward"
    layer: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(name for name in self.inputs if name)


@dataclass(frozen=True)
class Graph:
    """Ops in execution order over tensors; inputs and outputs are arena tensors."""

    name: str
    tensors: Mapping[str, Tensor]
    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def producer(self, tensor: str) -> Op | None:
        return next((op for op in self.ops if tensor in op.outputs), None)

    def consumers(self, tensor: str) -> list[Op]:
        return [op for op in self.ops if tensor in op.inputs]

    def of_kind(self, *kinds: str) -> list[Op]:
        return [op for op in self.ops if op.kind in kinds]

    def with_tensors(self, changed: Iterable[Tensor]) -> Graph:
        """The same graph with some tensors replaced or added."""
        tensors = dict(self.tensors)
        tensors.update((tensor.name, tensor) for tensor in changed)
        return replace(self, tensors=tensors)

    def pruned(self) -> Graph:
        """Without tensors that nothing names."""
        used = {name for op in self.ops for name in (*op.reads, *op.outputs)}
        used.update(self.inputs, self.outputs)
        return replace(self, tensors={n: t for n, t in self.tensors.items() if n in used})

    def check(self) -> Graph:
        """Raise ModelError unless the ops can run in this order.

        Every tensor is made once, before it is read; every parameter is updated once, by the
        last op that reads it.
        """
        made = set(self.inputs)
        updated: set[str] = set()
        for op in self.ops:
            for name in op.reads:
                if name in updated:
                    raise ModelError(f"{self.name}: {op.name} reads {name} after its update")
                if name not in self.tensors:
                    raise ModelError(f"{self.name}: {op.name} reads unknown tensor {name}")
                if self[name].storage == "arena" and name not in made:
                    raise ModelError(f"{self.name}: {op.name} reads {name} before it is made")
            for name in op.outputs:
                if name in made or name not in self.tensors:
                    raise ModelError(f"{self.name}: {op.name} makes {name} twice or undeclared")
                made.add(name)
            for name in op.updates:
                if name not in op.inputs or self[name].storage not in ("parameters", "state"):
                    raise ModelError(f"{self.name}: {op.name} cannot update {name}")
                updated.add(name)
        for name in self.outputs:
            if name not in made:
                raise ModelError(f"{self.name}: output {name} is never made")
        return self
