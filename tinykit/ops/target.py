"""What a training step is told: a class, a value for each output, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op

Target = int | Array | None
"""A class number; int8 values of the form's quantization; None where the input is its target."""


@dataclass(frozen=True)
class TargetForm:
    """The targets that a loss takes.

    loss: kind of the loss op. classes: class numbers are below it; 0: none are taken. values: how
    many values a vector has; 0: none is taken. Neither: the input is its own target. A vector is
    int8, real = scale * (code - zero_point). first_classes: in use from the beginning, where labels
    may bring more into use; else 0.
    """

    loss: str
    classes: int = 0
    values: int = 0
    scale: float = 1.0
    zero_point: int = 0
    first_classes: int = 0

    @property
    def given(self) -> bool:
        """Whether a target must be given."""
        return self.classes > 0 or self.values > 0

    def wanted(self) -> str:
        """In words, for errors."""
        ways = [f"a class of 0 … {self.classes - 1}"] if self.classes else []
        ways += [f"{self.values} value{'s' * (self.values > 1)}"] if self.values else []
        return " or ".join(ways) or "no target: the input is its own"

    def check(self, target: Target) -> None:
        """Raises PlanError unless the loss takes the target; anything is taken where none is."""
        if not self.given:
            return
        if isinstance(target, np.ndarray):
            good = 0 < self.values == target.size and target.dtype == np.int8
            shown = f"{target.dtype} of {target.size} values"
        else:
            good = target is not None and 0 <= int(target) < self.classes
            shown = "no target" if target is None else f"label {target}"
            if target is not None and self.classes and not good:
                raise PlanError(f"{shown}: the model has classes 0 … {self.classes - 1}")
        if not good:
            raise PlanError(f"{shown}: {self.loss} takes {self.wanted()}")

    def stand_ins(self, count: int) -> list[Target]:
        """Targets in place of real ones: classes in turn, or values of seeded noise."""
        random = np.random.default_rng(0)
        if self.classes:
            return [i % self.classes for i in range(count)]
        return [
            random.integers(-128, 128, self.values).astype(np.int8) if self.given else None
            for _ in range(count)
        ]

    def quantized(self, real: Array) -> Array:
        """Real values as the loss takes them: int8, rounded half away from zero, saturated."""
        codes = real.astype(np.float64) / self.scale
        rounded = np.copysign(np.floor(np.abs(codes) + 0.5), codes)
        return np.asarray(np.clip(rounded + self.zero_point, -128, 127).astype(np.int8))


class Loss(Protocol):
    """An operator that ends the forward pass of a training graph."""

    def target(self, graph: Graph, op: Op) -> TargetForm: ...
