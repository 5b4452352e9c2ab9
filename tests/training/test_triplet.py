"""Triplet loss against class centres: TensorFlow's gradients, the same bits in C, and learning."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support import training_kernels
from tests.support.generated_training import train_generated
from tests.support.networks import Network
from tests.support.training_kernels import Sanitized
from tests.training.test_gradients_tensorflow import compare
from tinykit.codegen import Compiled, compile_model, write
from tinykit.errors import PlanError, UsageError
from tinykit.host import HostModel
from tinykit.ir import Array, Graph, Op, Quantization, Tensor
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.triplet import CENTRE, WINDOW, TripletAttributes
from tinykit.training.contribution import analyse
from tinykit.training.plan import Optimizer, Plan, Training, Update
from tinykit.training.reference import ReferenceTrainer

CLASSES, SIZE = 4, 6
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def embedding(seed: int = 61) -> tuple[Network, str]:
    """A small siamese network: one branch, shared by all samples."""
    net = Network((1, 10, 10, 1), seed=seed)
    x = net.conv(net.conv("x", 6, stride=(2, 2)), 8, stride=(2, 2))
    return net, net.dense(net.flatten(x), SIZE)


def plan(margin: float = 2.0, rate: float = 0.0005, **changes: float) -> Plan:
    return Plan(
        optimizer=Optimizer(learning_rate=rate, **changes),
        training=Training(loss="triplet", classes=CLASSES, margin=margin),
        update=(Update(layers="all", bias=True, weights=1.0),),
    )


def made(margin: float = 60.0) -> tuple[Compiled, Array, list[int]]:
    """Patterns in noise, four classes in turn."""
    net, output = embedding()
    labels = [i % CLASSES for i in range(200)]
    noise = net.random.normal(0, 60, (200, *net.shape))
    samples = np.clip(net.inputs(CLASSES)[labels] + noise, -128, 127).astype(np.int8)
    compiled = compile_model(
        net.graph(output), name="m", plan=plan(margin), samples=samples[:16], labels=labels[:16]
    )
    return compiled, samples, labels


def with_random_centres(graph: Graph, seed: int) -> Graph:
    """All but the last class in use."""
    centre, count = (graph[f"class/{name}"] for name in ("centre", "samples"))
    random = np.random.default_rng(seed)
    data = random.integers(-60, 60, centre.shape).astype(np.int16) * CENTRE
    used = np.array([5] * (CLASSES - 1) + [0], np.int16)
    return graph.with_tensors([centre.with_data(data), count.with_data(used)])


@pytest.mark.parametrize("label", range(CLASSES - 1))
def test_gradients_equal_tensorflows(label: int) -> None:
    compiled, samples, _ = made(margin=1e4)
    assert compiled.train is not None
    graph = with_random_centres(compiled.train.graph, seed=label)
    loss = next(op for op in graph.ops if op.phase == "loss")
    quant = graph[loss.inputs[0]].quant
    real = (graph["class/centre"].value / CENTRE - quant.zero_point0) * quant.scale0
    others = [real[c] for c in range(CLASSES - 1) if c != label]
    compare(graph, samples[20 + label], label, (real[label], others, 1e4))


def loss_alone(margin: float, guard: float = 0.0) -> tuple[Graph, Op]:
    """The loss of a row of three values, two of three classes in use."""
    y = Tensor("y", (1, 3), "int8", Quantization.per_tensor(0.5, 10))
    centres = Tensor("class/centre", (3, 3), "int16", None, "parameters",
                     np.array([[0, 0, 0], [1280, 0, 0], [0, 0, 0]], np.int16))  # fmt: skip
    counts = Tensor("class/samples", (3,), "int16", None, "parameters",
                    np.array([4, WINDOW, 0], np.int16))  # fmt: skip
    g = Tensor("g", (1, 3), "int16", Quantization.per_tensor(2.0**-14))
    states = (centres.name, counts.name)
    attributes = TripletAttributes(0.0, guard, 3, margin)
    op = Op("triplet", "loss", ("y", *states), ("g",), attributes, states, "loss", "loss")
    tensors = {t.name: t for t in (y, centres, counts, g)}
    return Graph("loss", tensors, (op,), ("y",), ("g",)), op


@pytest.mark.parametrize(
    ("y", "label", "margin", "loss", "gradient"),
    [
        # In codes centres are at 0 and 10 of the first axis; squares are times 0.25.
        ([4, 0, 0], 0, 10.0, 0.25 * (16 - 36) + 10, [10240, 0, 0]),
        ([4, 0, 0], 0, 5.0, 0.0, [0, 0, 0]),  # the margin is kept
        ([4, 3, 0], 1, 1.0, 0.25 * (36 - 16) + 1, [-10240, 0, 0]),
        ([4, 0, 0], 2, 10.0, 0.0, [0, 0, 0]),  # the first sample of its class
    ],
)
def test_the_loss_is_the_difference_of_squared_distances(
    y: list[int], label: int, margin: float, loss: float, gradient: list[int]
) -> None:
    graph, _ = loss_alone(margin)
    step = Step.towards(label, 0.1)
    run = evaluate(graph, {"y": np.array([y], np.int8)}, step=step)
    assert step.loss == pytest.approx(loss)
    assert step.prediction == 0 if y[0] < 5 else 1
    np.testing.assert_array_equal(run["g"][0], gradient)
    if loss:  # derivative 2 * (other - own), in real units
        derivative = np.array(gradient) * 2.0**-14 * step.normalisation
        np.testing.assert_allclose(np.abs(derivative).max(), 2 * 10 * 0.5)
    before = graph["class/centre"].value[label] / CENTRE
    count = [5, WINDOW, 1][label]
    np.testing.assert_allclose(
        run["class/centre"][label] / CENTRE, before + (y - before) / count, atol=0.5 / CENTRE
    )
    assert run["class/samples"][label] == count


def test_a_guarded_sample_does_not_enter_its_centre() -> None:
    graph, _ = loss_alone(10.0, guard=1.0)
    step = Step.towards(0, 0.1)
    run = evaluate(graph, {"y": np.array([[4, 0, 0]], np.int8)}, step=step)
    assert step.skips
    np.testing.assert_array_equal(run["class/centre"], graph["class/centre"].value)


def test_losses_and_centres_are_equal_in_c_at_extremes(sanitized: Sanitized) -> None:
    random = np.random.default_rng(7)
    for _ in range(60):
        margin = float(np.float32(random.choice([1e-6, 3.0, 1e9])))
        graph, op = loss_alone(margin, float(random.choice([0.0, 2.0])))
        ends = np.array([-128, 0, 127])
        values = {
            "y": random.choice(ends, (1, 3)).astype(np.int8),
            "class/centre": (random.choice(ends, (3, 3)) * CENTRE).astype(np.int16),
            "class/samples": random.choice([0, 1, WINDOW], 3).astype(np.int16),
        }
        label = int(random.integers(0, 3))
        step = Step(label=label, learning_rate=float(np.float32(0.1)))
        step.headroom = int(random.integers(0, 9))
        changed = [graph[n].with_data(v) for n, v in values.items() if n != "y"]
        run = evaluate(graph.with_tensors(changed), {"y": values["y"]}, step=step)
        found = sanitized.call(
            training_kernels.single_loss, graph, op, values, label, 0.1, step.headroom
        )
        np.testing.assert_array_equal(found[0], run["g"])
        assert np.float32(found[1]).tobytes() == np.float32(step.loss).tobytes()
        assert found[2] == step.prediction
        assert np.float32(found[3]).tobytes() == np.float32(step.rate).tobytes()
        assert found[4] == step.skips


@needs_gcc
def test_generated_code_equals_numpy(tmp_path: Path) -> None:
    """Step by step: loss, prediction, centres and weights; the probabilities afterwards."""
    compiled, samples, labels = made()
    manifest = write(compiled, tmp_path)
    assert compiled.train is not None
    graph = compiled.train.graph
    trainer = ReferenceTrainer(graph, plan().optimizer)
    requests = [(samples[i], labels[i], False) for i in range(10)]
    losses = []
    for (sample, label, _), (answer, block, output) in zip(
        requests, train_generated(tmp_path, requests), strict=True
    ):
        step = trainer.step(sample, label)
        losses.append(step.loss)
        assert (answer.status, answer.prediction) == (0, step.prediction)
        assert np.float32(answer.loss) == np.float32(step.loss)
        for p in manifest.parameters:
            expected = graph[p.name].stored(trainer.parameters[p.name])
            assert block[p.offset : p.offset + p.bytes] == expected.tobytes(), p.name
        infer = compiled.infer.graph
        run = evaluate(infer, {infer.inputs[0]: sample}, parameters=trainer.parameters)
        np.testing.assert_array_equal(output, run[infer.outputs[0]])
    assert max(losses) > 0


@needs_gcc
def test_an_embedding_learns_and_is_saved_with_its_centres(tmp_path: Path) -> None:
    compiled, samples, labels = made()
    write(compiled, tmp_path)
    host, copy = HostModel(tmp_path), HostModel(tmp_path)
    assert (host.infer(samples[0]) == -128).all()  # no class is in use
    steps = [host.train(x, y) for x, y in zip(samples[:160], labels[:160], strict=True)]
    assert steps[0].prediction == -1
    assert host.train(samples[0], CLASSES).status == 1
    assert np.mean([s.loss for s in steps[-40:]]) < 0.2 * np.mean([s.loss for s in steps[4:44]])
    pairs = zip(samples[160:], labels[160:], strict=True)
    assert np.mean([host.infer(x).argmax() == y for x, y in pairs]) >= 0.95
    copy.load(host.save())
    np.testing.assert_array_equal(copy.infer(samples[3]), host.infer(samples[3]))
    host.reset()
    assert (host.infer(samples[0]) == -128).all()


def test_layers_contribute_though_no_class_is_in_use_at_first() -> None:
    net, output = embedding()
    found = analyse(net.graph(output), net.inputs(8), [0, 1, 1, 0, 1, 1, 1, 0], plan().training)
    assert all(layer.bias > 0 for layer in found.values())


def test_what_does_not_fit_together_is_said() -> None:
    with pytest.raises(UsageError, match="needs classes"):
        Plan.parse({"training": {"loss": "triplet"}, "update": []}, "p.toml")
    with pytest.raises(UsageError, match="are for loss"):
        Plan.parse({"training": {"classes": 3}, "update": []}, "p.toml")
    net, output = embedding()
    with pytest.raises(PlanError, match="skip_below is for probabilities"):
        compile_model(net.graph(output), name="m", plan=plan(skip_below=0.1))
    with pytest.raises(PlanError, match="ends in softmax"):
        compile_model(net.graph(net.softmax(output)), name="m", plan=plan())
