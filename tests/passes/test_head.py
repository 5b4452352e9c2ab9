"""A fresh head: where it is put, how it is scaled, that it learns, and that it can grow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.generated_training import train_generated
from tests.support.networks import Network
from tests.training.test_gradients_tensorflow import compare
from tinykit.codegen import compile_model, write
from tinykit.errors import ModelError, UsageError
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Step, evaluate
from tinykit.passes import simplify
from tinykit.passes.head import INITIAL_LOGIT, LOGIT_RANGE, replace_head
from tinykit.training.loss import logits_of
from tinykit.training.plan import Optimizer, Plan, Update
from tinykit.training.reference import ReferenceTrainer

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
PLAN = Plan(
    name="p",
    optimizer=Optimizer(learning_rate=0.05),
    update=(
        Update(layers="last 3", bias=True),
        Update(layers="last 2", weights=0.5),
        Update(layers="head", bias=True, weights=1.0),
    ),
)


def keyword_spotting() -> tuple[Network, str]:
    """A small depthwise-separable network, as for keyword spotting."""
    net = Network((1, 12, 10, 1), seed=41)
    x = net.conv("x", 8, (5, 3), (2, 2))
    for _ in range(2):
        x = net.conv(net.depthwise(x), 8, (1, 1))
    x = net.average_pool(x, net.tensors[x].shape[1:3], (1, 1), "valid")  # type: ignore[arg-type]
    return net, net.softmax(net.dense(net.flatten(x), 12))


def class_maps() -> tuple[Network, str]:
    """A 1x1 convolution averaged over the map."""
    net = Network((1, 8, 8, 3), seed=42)
    x = net.conv(net.conv("x", 6, stride=(2, 2)), 7, (1, 1), activation="none")
    return net, net.softmax(net.mean(x))


def whole_map() -> tuple[Network, str]:
    """A convolution as large as the map."""
    net = Network((1, 6, 7, 5), seed=43)
    x = net.conv(net.conv("x", 6), 5, (6, 7), padding="valid", activation="none")
    return net, net.reshape(x, (1, 5))


Backbone = Callable[[], tuple[Network, str]]
BACKBONES: tuple[Backbone, ...] = (keyword_spotting, class_maps, whole_map)


def headed(backbone: Backbone, classes: int, first: int | None = None) -> tuple[Graph, Array]:
    net, output = backbone()
    samples = net.inputs(12)
    return replace_head(net.graph(output), classes, samples, first=first), samples


@pytest.mark.parametrize("classes", [1, 2, 9])
@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda b: b.__name__)
def test_first_logits_are_small_and_prefer_no_class(backbone: Backbone, classes: int) -> None:
    graph, samples = headed(backbone, classes)
    assert graph[graph.outputs[0]].shape == (1, classes)
    assert graph.ops[-1].kind == ("softmax" if classes > 1 else "logistic")
    logits = graph[logits_of(graph)]
    found = np.stack([evaluate(graph, {graph.inputs[0]: s})[logits.name][0] for s in samples])
    real = found * logits.quant.scale0
    assert np.abs(real.mean(axis=0)).max() < 2 * logits.quant.scale0
    assert real.std() < INITIAL_LOGIT
    assert logits.quant.scale0 * 127 == pytest.approx(LOGIT_RANGE)
    kernel = next(t for t in graph.tensors.values() if t.name.endswith("head/kernel"))
    assert 2 <= np.abs(kernel.value.astype(int)).max() <= 40  # there is room to learn


def test_features_in_front_of_the_head_are_those_of_the_model() -> None:
    net, output = keyword_spotting()
    graph = net.graph(output)
    other, samples = headed(keyword_spotting, 3)
    x = next(op for op in other.ops if op.name == "head").inputs[0]
    for sample in samples:
        inputs = {graph.inputs[0]: sample}
        np.testing.assert_array_equal(evaluate(graph, inputs)[x], evaluate(other, inputs)[x])


def test_the_seed_says_the_weights() -> None:
    net, output = keyword_spotting()
    graph, samples = net.graph(output), net.inputs(4)
    kernels = [
        replace_head(graph, 4, samples, seed=seed)["head/kernel"].value for seed in (1, 1, 2)
    ]
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


@needs_gcc
@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda b: b.__name__)
def test_a_new_head_trains_as_numpy_does(backbone: Backbone, classes: int, tmp_path: Path) -> None:
    graph, samples = headed(backbone, classes)
    check_training(graph, samples, classes, tmp_path)


@needs_gcc
def test_a_new_head_on_mcunet_trains_as_numpy_does(shared: Path, tmp_path: Path) -> None:
    graph = simplify(load_model(shared / "models" / "mcunet-5fps-1000c.tflite"))
    samples = Network(graph[graph.inputs[0]].shape, seed=44).inputs(3)
    check_training(replace_head(graph, 4, samples), samples, 4, tmp_path, steps=2)


@needs_gcc
def test_a_new_head_on_a_converted_keras_model(tmp_path: Path) -> None:
    from tests.support import keras_models

    floats = keras_models.convert(keras_models.residual_2d(), tmp_path / "model.tflite")
    graph = simplify(load_model(tmp_path / "model.tflite"))
    quant = graph[graph.inputs[0]].quant
    codes = np.rint(floats / quant.scale0) + quant.zero_point0
    samples = np.clip(codes, -128, 127).astype(np.int8)[:8, None]
    check_training(replace_head(graph, 3, samples), samples, 3, tmp_path / "c")


def check_training(
    graph: Graph, samples: Array, classes: int, folder: Path, steps: int = 4
) -> None:
    count = max(classes, 2)
    labels = [i % count for i in range(len(samples))]
    made = compile_model(graph, name="m", plan=PLAN, samples=samples[:3], labels=labels[:3])
    manifest = write(made, folder)
    assert made.train is not None
    trainer = ReferenceTrainer(made.train.graph, PLAN.optimizer)
    requests = [(samples[i % len(samples)], (i + 1) % count, False) for i in range(steps)]
    for (sample, label, _), (answer, block, _) in zip(
        requests, train_generated(folder, requests), strict=True
    ):
        step = trainer.step(sample, label)
        assert (answer.status, answer.prediction) == (0, step.prediction)
        assert np.float32(answer.loss) == np.float32(step.loss)
        for p in manifest.parameters:
            expected = made.train.graph[p.name].stored(trainer.parameters[p.name])
            assert block[p.offset : p.offset + p.bytes] == expected.tobytes()


@needs_gcc
def test_a_new_head_learns_as_in_float(tmp_path: Path) -> None:
    """Four patterns in noise: the head alone learns them, with the losses of float64 SGD."""
    net = Network((1, 12, 10, 1), seed=46)
    backbone = net.graph(net.dense(net.flatten(net.conv("x", 4, (5, 3), (2, 2))), 12))
    labels = [i % 4 for i in range(120)]
    noise = net.random.normal(0, 15, (120, *net.shape))
    samples = np.clip(net.inputs(4)[labels] + noise, -128, 127).astype(np.int8)
    graph = replace_head(backbone, 4, samples[:16])
    plan = Plan(
        optimizer=Optimizer(learning_rate=0.01),
        update=(Update(layers="head", bias=True, weights=1.0),),
    )
    made = compile_model(graph, name="m", plan=plan, samples=samples[:16], labels=labels[:16])
    write(made, tmp_path)
    host = HostModel(tmp_path)

    head = next(op for op in graph.ops if op.name == "head")
    x, kernel, bias = (graph[name] for name in head.inputs)
    weights = kernel.value * kernel.quant.scale0
    offset = bias.value * bias.quant.scale0
    losses = []
    for sample, label in zip(samples[:80], labels, strict=False):
        run = evaluate(graph, {graph.inputs[0]: sample})
        features = (run[x.name][0].astype(float) - x.quant.zero_point0) * x.quant.scale0
        logits = weights @ features + offset
        error = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        losses.append((-np.log(error[label]), host.train(sample, label).loss))
        error[label] -= 1
        weights -= 0.01 * np.outer(error, features)
        offset -= 0.01 * error
    real, found = np.array(losses).reshape(8, 10, 2).mean(axis=1).T
    np.testing.assert_allclose(found, real, atol=0.1)
    assert real[-1] < 0.3 * real[0]
    right = [host.infer(s).argmax() == y for s, y in zip(samples[80:], labels[80:], strict=True)]
    assert np.mean(right) >= 0.9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net: net.conv("x", 4), "rows of classes, not one"),
        (lambda net: net.mean(net.depthwise("x")), "depthwise_conv2d"),
        (lambda net: net.add(net.dense(net.flatten("x"), 4), net.dense(net.flatten("x"), 4)),
         "does not end in a classifier: add"),
        (lambda net: net.mean("x"), "no layer with weights"),
    ],
)  # fmt: skip
def test_what_is_no_classifier_is_said(make: Callable[[Network], str], message: str) -> None:
    net = Network((1, 6, 6, 2), seed=45)
    graph = net.graph(make(net))
    with pytest.raises(ModelError, match=message):
        replace_head(graph, 3, net.inputs(2))


@pytest.mark.parametrize("classes", [0, 5000])
def test_impossible_numbers_of_classes(classes: int) -> None:
    with pytest.raises(UsageError, match=f"a head of {classes} classes"):
        headed(keyword_spotting, classes)


# --- growing --------------------------------------------------------------------------------------


def growing() -> tuple[Graph, Array]:
    return headed(keyword_spotting, 6, first=3)


def test_logits_out_of_use_do_not_count() -> None:
    """The same as a head that has only the classes in use, bit for bit; gradients included."""
    graph, samples = growing()
    plan = Plan(optimizer=PLAN.optimizer, update=(Update(layers="all", bias=True, weights=1.0),))
    made = compile_model(graph, name="m", plan=plan, samples=samples[:4], labels=[0, 1, 2, 0])
    assert made.train is not None
    training, sample = made.train.graph, samples[5]
    inputs = {training.inputs[0]: sample}
    step = Step(label=1, learning_rate=0.1)
    run = evaluate(training, inputs, step=step)
    logits = next(op.inputs[0] for op in training.ops if op.phase == "loss")
    real = run[logits][0, :3] * training[logits].quant.scale0
    assert step.loss == pytest.approx(np.log(np.exp(real - real[1]).sum()), rel=1e-5)
    assert not run["loss/gradient"][0, 3:].any()
    assert run["loss/gradient"][0, :3].all()
    infers = evaluate(graph, {graph.inputs[0]: sample})
    probabilities = infers[graph.outputs[0]][0]
    assert (probabilities[3:] == -128).all()
    coarse = logits.removesuffix("/fine")
    real = infers[coarse][0, :3] * graph[coarse].quant.scale0
    expected = np.exp(real) / np.exp(real).sum()
    np.testing.assert_allclose((probabilities[:3] + 128) / 256, expected, atol=0.006)


def test_gradients_of_a_full_head_equal_tensorflows() -> None:
    graph, samples = headed(class_maps, 5)
    plan = Plan(update=(Update(layers="all", bias=True, weights=1.0),))
    made = compile_model(
        graph, name="m", plan=plan, samples=samples, labels=[i % 5 for i in range(12)]
    )
    assert made.train is not None
    compare(made.train.graph, samples[0], 3, 3)


@needs_gcc
def test_labels_bring_classes_into_use(tmp_path: Path) -> None:
    """On the device as in NumPy; what was saved keeps them, and reset forgets them."""
    graph, samples = growing()
    made = compile_model(graph, name="m", plan=PLAN, samples=samples[:4], labels=[0, 1, 2, 5])
    manifest = write(made, tmp_path)
    assert manifest.classes == 6
    assert manifest.target is not None
    assert manifest.target.first_classes == 3
    assert made.train is not None
    labels = [0, 2, 4, 1, 5, 3]
    requests = [(samples[i], label, False) for i, label in enumerate(labels)]
    trainer = ReferenceTrainer(made.train.graph, PLAN.optimizer)
    for (sample, label, _), (answer, block, output) in zip(
        requests, train_generated(tmp_path, requests), strict=True
    ):
        step = trainer.step(sample, label)
        assert (answer.status, answer.prediction) == (0, step.prediction)
        assert np.float32(answer.loss) == np.float32(step.loss)
        for p in manifest.parameters:
            expected = made.train.graph[p.name].stored(trainer.parameters[p.name])
            assert block[p.offset : p.offset + p.bytes] == expected.tobytes()
        used = trainer.classes
        assert (output[0, used:] == -128).all()
        assert output[0, :used].max() > -128
    assert trainer.classes == 6

    host, copy = HostModel(tmp_path), HostModel(tmp_path)
    assert host.train(samples[0], 6).status == 1
    host.train(samples[0], 4)
    copy.load(host.save())
    for sample in samples[:3]:
        np.testing.assert_array_equal(copy.infer(sample), host.infer(sample))
    assert copy.save() == host.save()
    host.reset()
    assert (host.infer(samples[0])[0, 3:] == -128).all()
