"""Gradients of int8 and float32: against TensorFlow's, and the same bits in NumPy and C."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support import architectures, training_kernels
from tests.support.architectures import Architecture
from tests.support.generated_training import train_generated
from tests.support.networks import Network
from tests.support.training_kernels import Sanitized
from tests.training.test_gradients_tensorflow import cosine
from tinykit.codegen import Compiled, compile_model, write
from tinykit.errors import PlanError
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Run, Step, evaluate, initial_values
from tinykit.ops.plain_gradients import CONVERT, _collected, _settled
from tinykit.ops.registry import operator
from tinykit.training.loss import logits_of
from tinykit.training.plan import Optimizer, Plan, Update
from tinykit.training.reference import ReferenceTrainer

TYPES = ("int8", "float32")
EVERYTHING = (Update(layers="all", bias=True, weights=1.0),)
PARTS = (
    Update(layers="all", bias=True, weights=0.4),
    Update(layers="last 2", weights=0.7, select="first"),
)


def fork() -> tuple[Network, str]:
    """`three_way_fork` without its pool: three gradients meet, and a sum with itself."""
    net = Network((1, 8, 10, 4), seed=3, input_zero_point=127)
    trunk = net.conv("x", 6, (3, 3), padding="valid")
    left = net.conv(trunk, 6, (3, 3), activation="none")
    right = net.conv(trunk, 6, (1, 1), activation="none")
    x = net.add(net.add(left, right, "relu"), trunk, "relu")
    return net, net.dense(net.flatten(net.add(x, x)), 4)


def average_pools() -> tuple[Network, str]:
    net = Network((1, 9, 8, 3), seed=52)
    x = net.average_pool(net.conv("x", 6, activation="none"), (3, 3), (2, 2))
    x = net.average_pool(net.conv(x, 6, (1, 1)), (2, 2), (1, 1), "valid", "relu")
    return net, net.dense(net.mean(net.conv(x, 5)), 4)


NETWORKS: tuple[Architecture, ...] = (
    architectures.strided,
    architectures.residual,
    architectures.dilated,
    architectures.depthwise_multipliers,
    architectures.rows_of_pixels,
    fork,
    average_pools,
)


def made(
    architecture: Architecture, dtype: str, update: tuple[Update, ...], optimizer: Optimizer
) -> tuple[Compiled, Array, int]:
    net, output = architecture()
    graph, samples = net.graph(output), net.inputs(14)
    classes = graph[logits_of(graph)].size
    plan = Plan.model_validate(
        {"training": {"gradients": dtype}, "update": update, "optimizer": optimizer}
    )
    labels = [i % classes for i in range(12)]
    compiled = compile_model(graph, name="net", plan=plan, samples=samples[:12], labels=labels)
    return compiled, samples, classes


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("architecture", NETWORKS, ids=lambda f: f.__name__)
def test_gradients_equal_tensorflows(architecture: Architecture, dtype: str) -> None:
    from tests.support.tensorflow_gradients import tensorflow_gradients

    compiled, samples, _ = made(architecture, dtype, EVERYTHING, Optimizer())
    assert compiled.train is not None
    graph = compiled.train.graph
    loss = next(op for op in graph.ops if op.phase == "loss")
    for sample in samples[12:]:
        inputs = {graph.inputs[0]: sample}
        label = int(evaluate(graph, inputs)[loss.inputs[0]].argmin())
        real = evaluate(graph, inputs, step=Step.towards(label), real=True)
        found = evaluate(graph, inputs, step=Step.towards(label, 0.01))
        codes = {**real.values, **initial_values(graph)}
        _, expected = tensorflow_gradients(graph, codes, loss.inputs[0], label)
        assert expected.keys() == found.gradients.keys() == real.gradients.keys()
        for name, gradient in expected.items():
            np.testing.assert_allclose(
                real.gradients[name], gradient, rtol=1e-4, atol=1e-5 * np.abs(gradient).max()
            )
            assert cosine(found.gradients[name], gradient) >= (
                0.97 if dtype == "int8" else 0.99999
            ), name


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("architecture", NETWORKS, ids=lambda f: f.__name__)
def test_steps_are_equal_in_c(architecture: Architecture, dtype: str, sanitized: Sanitized) -> None:
    waiting = Optimizer(learning_rate=0.05, accumulate=2, rounding="nearest")
    for update, optimizer in ((EVERYTHING, Optimizer(learning_rate=0.05)), (PARTS, waiting)):
        compiled, samples, classes = made(architecture, dtype, update, optimizer)
        assert compiled.train is not None
        graph = compiled.train.graph
        steps = [(samples[i], i % classes, False) for i in range(3)]
        history = sanitized.call(training_kernels.train, graph, optimizer, steps)
        reference = ReferenceTrainer(graph, optimizer)
        for (sample, label, _), (answer, parameters) in zip(steps, history, strict=True):
            step = reference.step(sample, label)
            assert answer.status == 0
            assert answer.updated == step.updated > 0
            assert answer.saturations == reference.saturations
            for key, value in parameters.items():
                np.testing.assert_array_equal(value, reference.parameters[key], key)


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
@pytest.mark.parametrize(
    ("dtype", "optimizer"),
    [
        ("int8", Optimizer(momentum=0.9, weight_decay=0.01, clip_norm=1.0)),
        ("float32", Optimizer(method="adam", master="int32")),
    ],
    ids=TYPES,
)
def test_generated_code_equals_numpy(dtype: str, optimizer: Optimizer, tmp_path: Path) -> None:
    """In its planned arena, with states of the optimizer."""
    compiled, samples, classes = made(architectures.residual, dtype, PARTS, optimizer)
    manifest = write(compiled, tmp_path)
    assert compiled.train is not None
    graph = compiled.train.graph
    trainer = ReferenceTrainer(graph, optimizer)
    requests = [(samples[i], i % classes, False) for i in range(4)]
    for (sample, label, _), (answer, block, _) in zip(
        requests, train_generated(tmp_path, requests), strict=True
    ):
        assert np.float32(answer.loss) == np.float32(trainer.step(sample, label).loss)
        for p in manifest.parameters:
            expected = graph[p.name].stored(trainer.parameters[p.name])
            assert block[p.offset : p.offset + p.bytes] == expected.tobytes()


@pytest.mark.skipif(not shutil.which("arm-none-eabi-gcc"), reason="no compiler for Arm")
@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m4"])
def test_operators_equal_numpy_on_arm(core: str) -> None:
    """Soft floats included: each op of a step, on an emulated core."""
    from tests.support.arm_training import ArmTraining

    kernels, seen = ArmTraining(core), set()
    for dtype in TYPES:
        compiled, samples, _ = made(architectures.residual, dtype, PARTS, Optimizer())
        assert compiled.train is not None
        graph = compiled.train.graph
        step = Step.towards(1, 0.05)
        run = evaluate(graph, {graph.inputs[0]: samples[13]}, step=step)
        for op in graph.ops:
            rule = operator(op.kind)
            if op.phase not in ("backward", "update") or rule.alias:
                continue
            names = [name for name in op.inputs if name]
            values = {**run.values, **initial_values(graph)}
            own = replace(step, saturations=0, updated=0)
            expected = rule.evaluate(op, Run(graph, values, own))
            found, saturations = kernels.op_result(
                graph, op, {name: values[name] for name in names}, own
            )
            for result, value in zip(found, expected, strict=True):
                np.testing.assert_array_equal(result.ravel(), value.ravel(), op.kind)
            assert saturations == own.saturations
            seen.add(op.kind)
    assert len(seen) >= 12


def test_int8_gradients_take_half_the_arena_of_int16_ones() -> None:
    sizes = {}
    for dtype in ("int16", *TYPES):
        compiled, _, _ = made(architectures.residual, dtype, EVERYTHING, Optimizer())
        assert compiled.train is not None
        graph = compiled.train.graph
        sizes[dtype] = sum(
            graph[name].bytes
            for op in graph.ops
            if op.phase == "backward" and not op.kind.startswith(CONVERT)
            for name in op.outputs
        )
    assert sizes["int8"] * 2 == sizes["int16"] == sizes["float32"] / 2


def test_values_beyond_the_types_saturate_and_count() -> None:
    step = Step()
    sums = np.array([1e9, -3e38, np.nan, 1.5, -1.5, 0.4], np.float32)
    ends = [2**30, -(2**30), -(2**30), 3, -3, 1]
    np.testing.assert_array_equal(_collected(sums, -1, step), ends)
    assert step.saturations == 3
    run = Run(Graph("g", {}, (), (), ()), {})
    kept = _settled(run, np.array([1000.0, -600.0, -508.0, 2.0]), 2, (4,), "s8")
    np.testing.assert_array_equal(kept, [127, -127, -127, 1])
    assert run.step.saturations == 2


@pytest.mark.parametrize("dtype", TYPES)
def test_operators_without_such_gradients_are_refused(dtype: str) -> None:
    with pytest.raises(PlanError, match=f"max_pool_grad has no {dtype} gradients"):
        made(architectures.pools, dtype, EVERYTHING, Optimizer())
