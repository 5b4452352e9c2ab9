"""Gradients through LSTM and SVDF: TensorFlow's within one run, and the same bits in C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support import training_kernels
from tests.support.extremes import cases
from tests.support.random_recurrent import lstm_operator, svdf_operator, weights
from tests.support.tflite_writer import Graph as FileGraph
from tests.support.tflite_writer import write
from tests.support.training_kernels import Sanitized
from tests.training.test_gradients_tensorflow import EVERYTHING, PARTS, check
from tinykit.codegen import compile_model, generate
from tinykit.errors import UsageError
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.ir import Array, Graph
from tinykit.training.plan import Plan, Training
from tinykit.training.reference import ReferenceTrainer

CLASSES = 4


def dense(
    graph: FileGraph, random: np.random.Generator, x: int, shapes: tuple[int, ...], x_scale: float,
    y: int,
) -> int:  # fmt: skip
    """Weights and biases that fill the range of an output with scale 0.05."""
    outputs, channels = shapes
    scale = float(np.float32(3.0 / (np.sqrt(channels) * 64 * 127 * x_scale)))
    w = weights(random, graph, (outputs, channels), scale)
    terms = random.integers(-2000, 2001, outputs).astype(np.int32)
    bias = graph.constant(terms, (float(np.float32(scale * x_scale)),))
    return graph.operator("FULLY_CONNECTED", [x, w, bias], y, {"KeepNumDims": 1}, version=4)


def lstm_network() -> bytes:
    """A dense layer over the steps, an LSTM, its last output to classes."""
    random, graph = np.random.default_rng(5), FileGraph()
    x = graph.tensor((1, 6, 5), 0.02, 4)
    y = dense(graph, random, x, (9, 5), 0.02, graph.tensor((1, 6, 9), 0.03, -20))
    hidden = (0.006, 5)
    y = lstm_operator(graph, random, y, (1, 6, 9), 7, 0.03, hidden, gain=2.0)
    last = graph.tensor((1, 7), *hidden)
    numbers = [graph.constant(np.array(v, np.int32)) for v in ([0, -1, 0], [0, 0, 0], [1, 1, 1])]
    options = {"BeginMask": 5, "EndMask": 7, "ShrinkAxisMask": 2}
    graph.operator("STRIDED_SLICE", [y, *numbers], last, options, version=2)
    logits = dense(graph, random, last, (CLASSES, 7), 0.006, graph.tensor((1, CLASSES), 0.1, 3))
    graph.inputs, graph.outputs = [x], [logits]
    return write(graph)


def svdf_network() -> bytes:
    """Two SVDFs behind a dense layer, then classes."""
    random, graph = np.random.default_rng(6), FileGraph()
    x = graph.tensor((1, 11), 0.02, 4)
    y = dense(graph, random, x, (10, 11), 0.02, graph.tensor((1, 10), 0.03, -20))
    y = svdf_operator(graph, random, y, 10, (7, 2, 4), 0.03, (0.05, -30))
    y = svdf_operator(graph, random, y, 7, (6, 1, 3), 0.05, (0.04, 0))
    logits = dense(graph, random, y, (CLASSES, 6), 0.04, graph.tensor((1, CLASSES), 0.1, 3))
    graph.inputs, graph.outputs = [x], [logits]
    return write(graph)


NETWORKS = {"lstm": lstm_network, "svdf": svdf_network}


def load(kind: str, folder: Path) -> Graph:
    path = folder / "model.tflite"
    path.write_bytes(NETWORKS[kind]())
    return load_model(path)


def samples_for(graph: Graph, count: int) -> Array:
    shape = (count, *graph[graph.inputs[0]].shape)
    return np.random.default_rng(2).integers(-128, 128, shape).astype(np.int8)


def training(kind: str, folder: Path, plan: Plan) -> tuple[Graph, Array]:
    graph = load(kind, folder)
    samples = samples_for(graph, 14)
    compiled = compile_model(
        graph, name="net", plan=plan, samples=samples[:12],
        labels=[i % CLASSES for i in range(12)],
    )  # fmt: skip
    assert compiled.train is not None
    return compiled.train.graph, samples[12:]


@pytest.mark.parametrize("plan", [EVERYTHING, PARTS], ids=lambda plan: plan.name)
@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_equal_tensorflows(kind: str, plan: Plan, tmp_path: Path) -> None:
    graph, samples = training(kind, tmp_path, plan)
    assert any(op.kind == f"{kind}_grad" for op in graph.ops)
    check(graph, samples)


@pytest.mark.parametrize("kind", NETWORKS)
def test_single_ops_on_extremes_are_equal_in_c(
    kind: str, tmp_path: Path, sanitized: Sanitized, sanitized_dsp: Sanitized
) -> None:
    graph, _ = training(kind, tmp_path, EVERYTHING)
    random, kinds = np.random.default_rng(5), set()
    for _ in range(6):
        for case in cases(graph, random):
            kinds.add(case.op.kind)
            arguments = (case.graph, case.op, case.values, case.step)
            case.check(*sanitized.call(training_kernels.single_op, *arguments))
            case.check(*sanitized_dsp.call(training_kernels.single_op, *arguments))
    assert kinds >= {"svdf_grad"} if kind == "svdf" else {"lstm_grad", "lstm_input_grad"}


@pytest.mark.parametrize("kind", NETWORKS)
def test_generated_c_trains_as_numpy_does_and_its_state_goes_on(kind: str, tmp_path: Path) -> None:
    graph = load(kind, tmp_path)
    samples = samples_for(graph, 30)
    labels = [i % CLASSES for i in range(30)]
    manifest = generate(
        graph, tmp_path, name="net", plan=EVERYTHING, samples=samples[:12], labels=labels[:12]
    )
    assert manifest.state_bytes > 0
    compiled = compile_model(
        graph, name="net", plan=EVERYTHING, samples=samples[:12], labels=labels[:12]
    )
    assert compiled.train is not None
    reference = ReferenceTrainer(compiled.train.graph, EVERYTHING.optimizer)
    host = HostModel(tmp_path)
    host.reset()
    losses = []
    for sample, label in zip(samples, labels, strict=True):
        step, answer = reference.step(sample, label), host.train(sample, label)
        assert np.float32(answer.loss) == np.float32(step.loss)
        assert answer.saturations == reference.saturations
        losses.append(step.loss)
    assert len(set(losses)) > 20
    variables = [t for t in compiled.infer.graph.tensors.values() if t.storage == "state"]
    image = b""
    for tensor in variables:
        image += reference.state[tensor.name].tobytes()
        image += bytes(-len(image) % 4)
    assert host.state == image != b""


def test_samples_of_models_with_state_are_not_kept(tmp_path: Path) -> None:
    plan = EVERYTHING.model_copy(update={"training": Training(keep="input")})
    with pytest.raises(UsageError, match="keeps state between runs"):
        compile_model(load("svdf", tmp_path), name="net", plan=plan)
