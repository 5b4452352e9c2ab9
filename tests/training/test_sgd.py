"""One update is a step of SGD in the real domain, within the rounding of its planes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.architectures import ARCHITECTURES, Architecture
from tinykit.codegen import compile_model
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.update import is_state
from tinykit.training.loss import logits_of
from tinykit.training.plan import Optimizer, Plan, Update
from tinykit.training.reference import ReferenceTrainer


def real_steps(graph: Graph, name: str) -> Array:
    """What one code of a trained tensor is worth, in a shape that broadcasts to it."""
    op = next(op for op in graph.ops if name in op.inputs and op.phase == "forward")
    weights = [graph[n].quant for n in (op.inputs[1], *op.inputs[3:4]) if n]
    depthwise = op.kind == "depthwise_conv2d"
    scales = np.array(weights[0].scale)
    if graph[name].dtype == "int32":
        if depthwise and weights[0].axis is not None:
            scales = np.concatenate([quant.scale for quant in weights])
        return graph[op.inputs[0]].quant.scale0 * scales
    if len(scales) == 1 or depthwise:
        return scales
    return scales.reshape(-1, *[1] * (len(graph[name].shape) - 1))


def masters(trainer: ReferenceTrainer, name: str) -> Array:
    """The master of a trained tensor, in codes."""
    return trainer.parameters[name] + trainer.parameters[f"{name}/residual"] / 256.0


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda f: f.__name__)
def test_update_is_sgd(architecture: Architecture, accumulate: int) -> None:
    net, output = architecture()
    graph = net.graph(output)
    classes = graph[logits_of(graph)].size
    samples = net.inputs(8)
    labels = [i % classes for i in range(8)]
    optimizer = Optimizer(learning_rate=1e-3, rounding="nearest", accumulate=accumulate)
    plan = Plan(
        optimizer=optimizer,
        update=(
            Update(layers="all", bias=True, weights=1.0),
            Update(layers=(1,), weights=0.5),
        ),
    )
    compiled = compile_model(graph, name="n", plan=plan, samples=samples, labels=labels)
    assert compiled.train is not None
    training = compiled.train.graph
    trainer = ReferenceTrainer(training, optimizer)
    names = [n for n in trainer.parameters if not is_state(n)]
    before = {name: masters(trainer, name) for name in names}
    waiting = {name: np.zeros(training[name].shape) for name in names}  # changes, in codes
    for sample, label in zip(samples[:accumulate], labels, strict=False):
        inputs = {training.inputs[0]: sample}
        run = evaluate(training, inputs, parameters=trainer.parameters, step=Step(label=label))
        for name in names:
            step = 1e-3 * run.gradients[name] / accumulate / real_steps(training, name)
            waiting[name] = waiting[name] - step
            if accumulate > 1 and training[name].dtype == "int8":  # they wait in an int16
                waiting[name] = np.clip(waiting[name], -128, 128)
        trainer.step(sample, label)
    moved = 0
    for name in names:
        change = masters(trainer, name) - before[name]
        expected = waiting[name]
        if training[name].dtype == "int8":  # weights saturate, never wrap
            expected = np.clip(before[name] + expected, -127, 127) - before[name]
        unit = 0.51 * accumulate / 256
        np.testing.assert_allclose(change, expected, rtol=1e-4, atol=unit, err_msg=name)
        moved += int((np.abs(change) > 0).sum())
    assert moved > 20
