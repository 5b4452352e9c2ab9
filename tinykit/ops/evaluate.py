"""Runs a graph through the operators' NumPy references.

Two modes. Integer: the arithmetic that the device does, bit for bit. Real: the forward pass is
the same integers, but gradients are float64 in real units and never rounded: the
straight-through gradient that integer training is held against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tinykit.ir import Array, Graph
from tinykit.ops.registry import operator
from tinykit.ops.target import Target


@dataclass
class Step:
    """What a training step knows and finds out; the C side's tk_trainer and tk_step."""

    label: int = 0
    values: Array | None = None  # or a vector, int8
    learning_rate: float = 0.0
    index: int = 0  # number of the step, from 0
    loss: float = 0.0
    prediction: int = -1
    accumulate: int = 1
    rate: float = 0.0  # float32 learning rate / accumulate * the step's gradient normalisation
    normalisation: float = 1.0  # the power of two by which the loss gradient was divided
    saturations: int = 0
    held: int = 0  # states of the optimizer among those of this step
    headroom: int = 0  # bits by which gradients are kept smaller than calibrated
    classes: int = 0  # in use, of a head that grows
    skips: bool = False  # the loss decided that the step ends there
    updated: int = 0  # weights and biases that this step changed
    updates: int = 0  # earlier steps that were not skipped
    first: bool = True  # no earlier sample of this accumulation has updated anything

    @classmethod
    def towards(cls, target: Target, learning_rate: float = 0.0) -> Step:
        """A step with a class, a vector or no target."""
        if isinstance(target, np.ndarray):
            return cls(values=target, learning_rate=learning_rate)
        return cls(0 if target is None else int(target), learning_rate=learning_rate)


@dataclass
class Run:
    """One execution: the values of all tensors, by name."""

    graph: Graph
    values: dict[str, Array]
    step: Step = field(default_factory=Step)
    real: bool = False
    gradients: dict[str, Array] = field(default_factory=dict)  # float64, of each parameter
    peaks: dict[str, float] = field(default_factory=dict)  # of values inside an op, by its name

    def __getitem__(self, name: str) -> Array:
        return self.values[name]

    def value_or_none(self, name: str) -> Array | None:
        return self.values[name] if name else None

    def variables(self) -> dict[str, Array]:
        """The model's state afterwards, by name: `parameters` of the next run."""
        return {n: self.values[n] for n, t in self.graph.tensors.items() if t.storage == "state"}

    def joined(self, weights: str, rest: str) -> Array:
        """Both blocks of a partly trained layer's weights, along the last axis."""
        if not rest:
            return self.values[weights]
        return np.concatenate([self.values[weights], self.values[rest]], axis=-1)


def initial_values(graph: Graph) -> dict[str, Array]:
    """Constants and the initial values of the parameters."""
    return {name: t.data for name, t in graph.tensors.items() if t.data is not None}


def evaluate(
    graph: Graph,
    inputs: Mapping[str, Array],
    *,
    parameters: Mapping[str, Array] | None = None,
    step: Step | None = None,
    real: bool = False,
) -> Run:
    """Execute all ops in order; `parameters` override the initial values of trained tensors."""
    values = initial_values(graph)
    values.update(parameters or {})
    for name in graph.inputs:
        tensor = graph[name]
        values[name] = np.ascontiguousarray(inputs[name], np.dtype(tensor.dtype)).reshape(
            tensor.shape
        )
    run = Run(graph, values, step or Step(), real)
    for op in graph.ops:
        results = operator(op.kind).evaluate(op, run)
        run.values.update(zip((*op.outputs, *op.updates), results, strict=True))
        if run.step.skips and not real:
            break
    return run
