"""Gradients that have outgrown what was calibrated: they get headroom, and training stays exact."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tests.support import training_kernels
from tests.support.architectures import residual
from tests.support.training_kernels import Sanitized
from tinykit.codegen import Compiled, compile_model, write
from tinykit.codegen.saved import Saved
from tinykit.host import HostModel
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.softmax_cross_entropy import LossAttributes
from tinykit.schedule.parameters import parameter_block
from tinykit.training.gradient_types import MOST_HEADROOM
from tinykit.training.plan import Optimizer, Plan, Training, Update, trainable_layers
from tinykit.training.reference import CALM, ReferenceTrainer

OPTIMIZER = Optimizer(learning_rate=1e-4)
PLAN = Plan(optimizer=OPTIMIZER, update=(Update(layers="all", bias=True, weights=1.0),))
GROWTH = 64  # of the head's weights since calibration: 6 bits, of which 4 were foreseen


def grown(gradients: Literal["int16", "int8", "float32"] = "int16") -> tuple[Compiled, Array]:
    """A network that was calibrated when its head was GROWTH times smaller; samples."""
    net, output = residual()
    graph = net.graph(output, "grown")
    layer = trainable_layers(graph)[-1]
    head = graph[layer.inputs[1]]
    codes = np.rint(head.value * (120.0 / np.abs(head.value).max())).astype(np.int8)
    small = head.with_data(np.rint(codes / GROWTH).astype(np.int8))
    samples = net.inputs(22)
    plan = PLAN.model_copy(update={"training": Training(gradients=gradients)})
    made = compile_model(
        graph.with_tensors([small]), name="grown", plan=plan, samples=samples[:12],
        labels=[i % 6 for i in range(12)],
    )  # fmt: skip
    assert made.train is not None
    name = f"{layer.name}/weights"
    infer, train = (
        replace(program, graph=program.graph.with_tensors([program.graph[name].with_data(codes)]))
        for program in (made.infer, made.train)
    )
    block = parameter_block(train.graph)
    return replace(made, infer=infer, train=train, block=block), samples[12:]


def grown_graph(
    gradients: Literal["int16", "int8", "float32"] = "int16",
) -> tuple[Graph, Array]:
    """Its training graph."""
    made, samples = grown(gradients)
    assert made.train is not None
    return made.train.graph, samples


def test_gradients_that_saturate_get_headroom_until_they_do_not() -> None:
    graph, samples = grown_graph()
    trainer = ReferenceTrainer(graph, OPTIMIZER)
    saturated = []
    for i in range(40):
        before = trainer.saturations
        trainer.step(samples[i % len(samples)], i % 6)
        saturated.append(trainer.saturations > before)
    assert saturated[0], "nothing to be mended"
    assert sum(saturated) == trainer.headroom <= 4
    assert not any(saturated[20:])

    inputs, label = {graph.inputs[0]: samples[0]}, 3
    real = evaluate(graph, inputs, step=Step(label=label), parameters=trainer.parameters, real=True)
    step = Step(label=label, headroom=trainer.headroom)
    found = evaluate(graph, inputs, step=step, parameters=trainer.parameters)
    for name, expected in real.gradients.items():
        gradient, size = found.gradients[name], float(np.linalg.norm(expected))
        assert float(np.linalg.norm(gradient - expected)) < 0.02 * size, name


def test_c_takes_the_same_steps(sanitized: Sanitized) -> None:
    graph, samples = grown_graph()
    told = [(samples[i], i % 6, False) for i in range(8)]
    history = sanitized.call(training_kernels.train, graph, OPTIMIZER, told)
    trainer = ReferenceTrainer(graph, OPTIMIZER)
    for (sample, label, _), (answer, parameters) in zip(told, history, strict=True):
        trainer.step(sample, label)
        assert answer.saturations == trainer.saturations
        for name, value in parameters.items():
            np.testing.assert_array_equal(value, trainer.parameters[name], name)
    assert trainer.headroom > 1


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_generated_code_goes_on_with_its_headroom_after_load(tmp_path: Path) -> None:
    """N steps, save, load into a fresh instance, N more: as 2 N steps of NumPy's."""
    made, samples = grown()
    write(made, tmp_path)
    assert made.train is not None
    trainer = ReferenceTrainer(made.train.graph, OPTIMIZER)
    host, answers = HostModel(tmp_path), []
    for i in range(12):
        if i == 3:
            saved, host = host.save(), HostModel(tmp_path)
            host.load(saved)
            assert Saved.parse(saved, "saved").headroom == trainer.headroom > 0
        answers.append(host.train(samples[i % len(samples)], i % 6))
        trainer.step(samples[i % len(samples)], i % 6)
        assert answers[-1].saturations == trainer.saturations
    found = host.parameters()
    for p in host.manifest.parameters:
        expected = made.train.graph[p.name].stored(trainer.parameters[p.name])
        assert found[p.offset : p.offset + p.bytes] == expected.tobytes(), p.name
    assert answers[-1].saturated == 0 < answers[0].saturated


def test_headroom_is_given_back_after_calm_steps() -> None:
    graph, samples = grown_graph()
    trainer = ReferenceTrainer(graph, OPTIMIZER, headroom=MOST_HEADROOM, calm=CALM - 1)
    trainer.step(samples[0], 0)
    assert (trainer.headroom, trainer.calm) == (MOST_HEADROOM - 1, 0)
    trainer.step(samples[0], 0)
    assert (trainer.headroom, trainer.calm) == (MOST_HEADROOM - 1, 1)


def test_skipped_steps_are_neither_calm_nor_not() -> None:
    graph, samples = grown_graph()
    loss = next(op for op in graph.ops if op.phase == "loss")
    skips = replace(loss, attributes=LossAttributes(skip_below=2.0))
    graph = replace(graph, ops=tuple(skips if op is loss else op for op in graph.ops))
    trainer = ReferenceTrainer(graph, OPTIMIZER, headroom=3, calm=7)
    trainer.step(samples[0], 0)
    assert (trainer.headroom, trainer.calm, trainer.skipped) == (3, 7, 1)


@pytest.mark.parametrize(("gradients", "gets"), [("int8", False), ("float32", True)])
def test_int8_gradients_have_no_bits_to_give(
    gradients: Literal["int8", "float32"], gets: bool
) -> None:
    """Of float32 gradients it is the sums of updates, int32, that saturate."""
    graph, samples = grown_graph(gradients)
    trainer = ReferenceTrainer(graph, OPTIMIZER)
    for i in range(12):
        trainer.step(samples[i % len(samples)], i % 6)
    assert trainer.saturations > 0
    assert (trainer.headroom > 0) == (trainer.calm > 6) == gets
