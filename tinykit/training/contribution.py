"""Contribution analysis: how much each layer's bias and weights would do for a user's data.

The contribution of a parameter is the square of its mean gradient over the samples, in the real
domain: what one step of gradient descent with a small rate takes off the loss, per unit of the
rate.  It is additive over parameters, so one pass over the samples serves all plans.  The gradient
is the float64 straight-through gradient on the integer forward pass (see docs/training.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.registry import check_shapes
from tinykit.ops.target import Target
from tinykit.training.autodiff import differentiate
from tinykit.training.centres import enrolled, with_centres
from tinykit.training.channel_order import importance
from tinykit.training.plan import LayerUpdate, Optimizer, Training, trainable_layers
from tinykit.training.trainable import make_trainable

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LayerContribution:
    """bias: of the layer's bias. channels: of the weights of each input channel (of each channel,
    for a depthwise layer), in the order in which a plan takes them: largest magnitudes first."""

    bias: float
    channels: tuple[float, ...]

    def weights(self, count: int) -> float:
        """Of the first `count` channels."""
        return float(sum(self.channels[:count]))


def differentiable(graph: Graph, training: Training | None = None) -> tuple[Graph, list[Op]]:
    """The training graph in which as much learns as has gradients, and its layers.

    Raises PlanError where not even the last layer can learn.
    """
    layers = trainable_layers(graph)
    error: PlanError | None = None
    for first in range(len(layers)):
        learning = layers[first:]
        choices = {op.name: LayerUpdate(False, 0, "") for op in layers} | {
            op.name: LayerUpdate(
                len(op.inputs) > 2 and bool(op.inputs[2]), graph[op.inputs[1]].shape[-1], "first"
            )
            for op in learning
        }
        try:
            trainable = make_trainable(graph, choices)
            if training is not None and training.loss == "triplet":
                trainable = with_centres(trainable, training)
            return check_shapes(differentiate(trainable, Optimizer(), training)), learning
        except PlanError as failure:
            error = failure
    raise error or PlanError(f"{graph.name}: has no layer with weights, so nothing can learn")


def analyse(
    graph: Graph,
    samples: Array,
    targets: Sequence[Target],
    training: Training | None = None,
    progress: Progress | None = None,
) -> Mapping[str, LayerContribution]:
    """Contributions by layer, of a simplified graph.

    samples: int8 [n, …input shape]; targets: n of what the loss takes. Raises PlanError.
    """
    backward, layers = differentiable(graph, training)
    backward = enrolled(backward, samples, targets)
    sums: dict[str, Array] = {}
    state: dict[str, Array] = {}
    for done, (sample, target) in enumerate(zip(samples, targets, strict=True)):
        inputs = {backward.inputs[0]: sample}
        run = evaluate(backward, inputs, parameters=state, step=Step.towards(target), real=True)
        state = run.variables()
        for name, gradient in run.gradients.items():
            sums[name] = sums.get(name, 0.0) + gradient
        if progress is not None:
            progress(done + 1, len(samples))
    found = {}
    for op in layers:
        weights = graph[op.inputs[1]]
        squares = np.square(sums[f"{op.name}/weights"] / len(samples))
        by_channel = squares.sum(axis=tuple(range(squares.ndim - 1)))
        order = np.argsort(-importance(weights), kind="stable")
        bias = sums.get(f"{op.name}/bias")
        found[op.name] = LayerContribution(
            0.0 if bias is None else float(np.square(bias / len(samples)).sum()),
            tuple(float(value) for value in by_channel[order]),
        )
    return found
