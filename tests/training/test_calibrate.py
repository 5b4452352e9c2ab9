"""Calibration: exponents leave the headroom they promise; what cannot be used is one clear line."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.architectures import residual
from tinykit.errors import PlanError
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.plain_gradients import BITS
from tinykit.training.autodiff import differentiate
from tinykit.training.calibrate import calibrate, keeps_exponent
from tinykit.training.plan import Optimizer, Plan, Update
from tinykit.training.trainable import make_trainable

PLAN = Plan(update=(Update(layers="all", bias=True, weights=1.0),))


def training_graph() -> tuple[Graph, Array]:
    net, output = residual()
    graph = net.graph(output, "residual")
    return differentiate(make_trainable(graph, PLAN.resolve(graph)), Optimizer()), net.inputs(6)


def test_largest_gradient_has_the_headroom() -> None:
    graph, samples = training_graph()
    labels = [0, 1, 0, 1, 0, 1]
    calibrated = calibrate(graph, samples, labels)
    largest: dict[str, int] = {}
    for sample, label in zip(samples, labels, strict=True):
        run = evaluate(calibrated, {graph.inputs[0]: sample}, step=Step(label=label))
        for op in calibrated.ops:
            if op.phase == "backward" and not keeps_exponent(op):
                peak = int(np.abs(run[op.outputs[0]].astype(int)).max())
                largest[op.name] = max(largest.get(op.name, 0), peak)
    top = 2 ** BITS["int16"]
    assert largest
    for name, peak in largest.items():
        assert top * 0.49 <= peak <= top * 1.02, name


@pytest.mark.parametrize(
    ("labels", "message"), [([0, 1], "2"), ([0, 1, 0, 99, 0, 1], "label 99: the model has classes")]
)
def test_unusable_labels(labels: list[int], message: str) -> None:
    graph, samples = training_graph()
    with pytest.raises(PlanError, match=message):
        calibrate(graph, samples, labels)
