"""Training by the NumPy references: the second opinion on the C engine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Step, evaluate, initial_values
from tinykit.ops.gradient_arithmetic import (
    BIAS_LIMIT,
    FRACTION,
    WEIGHT_LIMIT,
    WIDE_FRACTION,
    roll,
)
from tinykit.ops.target import Target
from tinykit.training.gradient_types import most_headroom
from tinykit.training.loss import target_form
from tinykit.training.plan import Optimizer
from tinykit.training.rate import learning_rate

CALM = 1024  # steps without saturated gradients that give a bit of headroom back


@dataclass
class ReferenceTrainer:
    """Runs training steps on a calibrated training graph; parameters by name.

    state: the model's variables, which go on from step to step.
    """

    graph: Graph
    optimizer: Optimizer
    parameters: dict[str, Array] = field(default_factory=dict)
    state: dict[str, Array] = field(default_factory=dict)
    steps: int = 0
    pending: int = 0
    begun: int = 0  # of the pending ones, those that updated
    saturations: int = 0
    skipped: int = 0
    classes: int = 0  # in use, of a head that grows
    headroom: int = 0  # bits by which gradients are kept smaller than calibrated
    calm: int = 0  # steps since it changed, none of whose gradients saturated

    def __post_init__(self) -> None:
        values = initial_values(self.graph)
        self.classes = target_form(self.graph).first_classes
        self.parameters = {
            name: values[name]
            for name, tensor in self.graph.tensors.items()
            if tensor.storage == "parameters"
        }

    def rate(self) -> float:
        """The learning rate of the next step."""
        return learning_rate(self.optimizer, self.steps)

    def step(self, sample: Array, target: Target) -> Step:
        """One sample; the returned step holds loss and prediction before the update."""
        step = Step.towards(target, self.rate())
        step.index, step.saturations, step.classes = self.steps, self.saturations, self.classes
        step.accumulate, step.first = self.optimizer.accumulate, self.begun == 0
        step.updates = self.steps - self.skipped
        step.headroom = self.headroom
        inputs = {self.graph.inputs[0]: sample}
        values = {**self.parameters, **self.state}
        run = evaluate(self.graph, inputs, parameters=values, step=step)
        self.state = run.variables()
        self.parameters = {name: run[name] for name in self.parameters}
        self.steps += 1
        if not step.skips:
            self._follow(step.saturations - self.saturations - step.held)
        self.saturations = step.saturations
        if self.classes:
            self.classes = max(self.classes, step.label + 1)
        self.pending += 1
        self.begun += not step.skips
        self.skipped += step.skips
        if self.pending == self.optimizer.accumulate:
            self.apply()
        return step

    def _follow(self, saturated: int) -> None:
        """One bit more after a step in which gradients saturated, one less after CALM without."""
        if saturated:
            self.headroom = min(self.headroom + 1, most_headroom(self.graph))
            self.calm = 0
            return
        self.calm += 1
        if self.calm == CALM:
            self.headroom, self.calm = max(self.headroom - 1, 0), 0

    def apply(self) -> None:
        """End an accumulation: bring the planes in use up to their masters."""
        self.pending = self.begun = 0
        for name, used in self.parameters.items():
            residual = self.parameters.get(f"{name}/residual")
            if residual is None or self.optimizer.accumulate == 1:
                continue
            weights = used.dtype == np.int8
            limit = WEIGHT_LIMIT if weights else BIAS_LIMIT
            wide = weights and self.optimizer.master == "int32"
            fraction = WIDE_FRACTION if wide else FRACTION
            new, left = roll(used, residual.astype(np.int64), limit, fraction)
            self.parameters[name] = new.astype(used.dtype)
            self.parameters[f"{name}/residual"] = left.astype(residual.dtype)
