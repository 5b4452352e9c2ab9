"""Shrinking a graph that learns: the same steps, parameters and predictions, from less work."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.support.architectures import Architecture, depthwise_multipliers, residual, strided
from tests.support.planted import with_dead_channels
from tinykit.codegen import Compiled, compile_model
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import evaluate
from tinykit.ops.registry import operator
from tinykit.training.plan import Optimizer, Plan, Update
from tinykit.training.reference import ReferenceTrainer

GENERATE = sys.modules["tinykit.codegen.generate"]  # the package has a function of this name
OPTIMIZER = Optimizer(learning_rate=0.05)
PLANS = {
    "head": Plan(optimizer=OPTIMIZER, update=(Update(layers="head", bias=True, weights=1.0),)),
    "last 2": Plan(optimizer=OPTIMIZER, update=(Update(layers="last 2", bias=True, weights=0.5),)),
    "biases": Plan(optimizer=OPTIMIZER, update=(Update(layers="last 3", bias=True),)),
    "all": Plan(optimizer=OPTIMIZER, update=(Update(layers="all", bias=True, weights=1.0),)),
}


def macs(graph: Graph) -> int:
    return sum(operator(op.kind).cost(graph, op).macs for op in graph.ops)


def compiled(architecture: Architecture, plan: Plan) -> tuple[Compiled, Array]:
    net, output = architecture()
    graph = with_dead_channels(net.graph(output), np.random.default_rng(3))
    samples = net.inputs(8)
    labels = [0, 1, 2, 0]
    made = compile_model(graph, name="model", plan=plan, samples=samples[:4], labels=labels)
    return made, samples


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("architecture", [strided, residual, depthwise_multipliers])
def test_training_does_not_notice(
    architecture: Architecture, plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, samples = compiled(architecture, PLANS[plan])
    monkeypatch.setattr(GENERATE, "shrink", lambda graph, learns: graph)
    whole, _ = compiled(architecture, PLANS[plan])
    assert small.train is not None
    assert whole.train is not None
    trainers = [ReferenceTrainer(made.train.graph, OPTIMIZER) for made in (small, whole)
                if made.train is not None]  # fmt: skip
    for i in range(6):
        steps = [trainer.step(samples[i], i % 3) for trainer in trainers]
        assert (steps[0].loss, steps[0].prediction) == (steps[1].loss, steps[1].prediction)
        assert trainers[0].parameters.keys() == trainers[1].parameters.keys()
        for name, value in trainers[0].parameters.items():
            np.testing.assert_array_equal(value, trainers[1].parameters[name], name)
    results = []
    for made, trainer in zip((small, whole), trainers, strict=True):
        graph = made.infer.graph
        trained = {n: v for n, v in trainer.parameters.items() if n in graph.tensors}
        run = evaluate(graph, {graph.inputs[0]: samples[6]}, parameters=trained)
        results.append(run[graph.outputs[0]])
    np.testing.assert_array_equal(results[0], results[1])
    saved = macs(whole.infer.graph) - macs(small.infer.graph)
    assert saved == macs(whole.train.graph) - macs(small.train.graph)
    if plan == "all":
        assert saved == 0
    elif architecture is residual:
        assert saved > 0
