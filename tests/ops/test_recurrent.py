"""LSTM and SVDF equal TensorFlow Lite Micro over several runs: NumPy, and C under sanitizers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from tests.ops.test_forward_property import EFFORT, SETTINGS
from tests.support.goldens import tflm_stream
from tests.support.kernels import SanitizedKernels
from tests.support.random_models import RandomModel, Rule, fully_connected, models
from tests.support.random_recurrent import LSTM_INPUTS, lstm, lstm_operator, svdf, svdf_operator
from tests.support.tflite_writer import Graph, write
from tinykit.codegen import generate
from tinykit.errors import ModelError
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.ops.evaluate import evaluate
from tinykit.passes import simplify


def check_stream(model: RandomModel, kernels: SanitizedKernels, folder: Path) -> None:
    """Run after run, the state going on; each run of the C begins from NumPy's state."""
    path = folder / "random.tflite"
    path.write_bytes(model.content)
    graph = simplify(load_model(path))
    for x, expected in zip(model.inputs, tflm_stream(model.content, model.inputs), strict=True):
        np.testing.assert_array_equal(kernels.run(graph, x), expected, "C")
        run = evaluate(graph, {graph.inputs[0]: x})
        np.testing.assert_array_equal(run[graph.outputs[0]], expected, "NumPy reference")
        states = [t for t in graph.tensors.values() if t.storage == "state"]
        assert states
        graph = graph.with_tensors(replace(t, data=run[t.name]) for t in states)


@pytest.mark.parametrize("rule", [lstm, svdf], ids=lambda rule: rule.__name__)
def test_operator_equals_tflm(
    rule: Rule, sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    @settings(SETTINGS, max_examples=80 * EFFORT)
    @given(models((rule,), largest=3))
    def run(model: RandomModel) -> None:
        check_stream(model, sanitized_kernels, tmp_path)

    run()


@settings(SETTINGS, max_examples=30 * EFFORT)
@given(model=models((lstm, svdf, fully_connected), length=3, largest=3))
def test_chain_equals_tflm(
    sanitized_kernels: SanitizedKernels, tmp_path: Path, model: RandomModel
) -> None:
    if {"UNIDIRECTIONAL_SEQUENCE_LSTM", "SVDF"} & set(model.operators):
        check_stream(model, sanitized_kernels, tmp_path)


def recurrent_model(kind: str) -> bytes:
    random, graph = np.random.default_rng(7), Graph()
    x = graph.tensor((1, 3, 5) if kind == "lstm" else (1, 12), 0.05, -7)
    if kind == "lstm":
        y = lstm_operator(graph, random, x, (1, 3, 5), 7, 0.05, (1 / 128, 3))
    else:
        y = svdf_operator(graph, random, x, 12, (5, 2, 8), 0.05, (0.1, -20))
    graph.inputs, graph.outputs = [x], [y]
    return write(graph)


@pytest.mark.parametrize("kind", ["lstm", "svdf"])
def test_generated_c_equals_tflm_for_a_thousand_runs(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(recurrent_model(kind))
    graph = load_model(path)
    shape = (1000, *graph[graph.inputs[0]].shape)
    inputs = list(np.random.default_rng(3).integers(-128, 128, shape).astype(np.int8))
    generate(graph, tmp_path, name="stream")
    host = HostModel(tmp_path)
    expected = tflm_stream(path.read_bytes(), inputs)
    assert len({y.tobytes() for y in expected}) > 900
    for x, y in zip(inputs, expected, strict=True):
        np.testing.assert_array_equal(host.infer(x), y)
    host.reset()
    np.testing.assert_array_equal(host.infer(inputs[0]), expected[0])


def _broken(kind: str) -> Graph:
    random, graph = np.random.default_rng(7), Graph()
    x = graph.tensor((1, 1, 5), 0.05, 0)
    exponent = -11
    y = lstm_operator(graph, random, x, (1, 1, 5), 4, 0.05, (1 / 128, 3), exponent)
    graph.inputs, graph.outputs = [x], [y]
    operator = graph.operators[0]
    assert len(operator.inputs) == LSTM_INPUTS
    cell = graph.tensors[operator.inputs[19]]
    if kind == "a peephole":
        operator.inputs[9] = graph.constant(np.zeros(4, np.int16), (1.0,))
    elif kind == "a projection":
        operator.inputs[16] = operator.inputs[1]
    elif kind == "layer normalization":
        operator.inputs[21] = graph.constant(np.zeros(4, np.int16), (1.0,))
    elif kind == "activation 1":
        operator.options = {"FusedActivationFunction": 1}
    elif kind == "powers of two":
        cell.scale = (0.001,)
    elif kind == "not a variable":
        cell.variable = False
    return graph


@pytest.mark.parametrize(
    "kind", ["a peephole", "a projection", "layer normalization", "activation 1", "powers of two",
             "not a variable"],
)  # fmt: skip
def test_what_tflm_has_not_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(write(_broken(kind)))
    with pytest.raises(ModelError, match="UNIDIRECTIONAL_SEQUENCE_LSTM #0") as error:
        load_model(path)
    assert kind in f"{error.value.message} {error.value.hint}"
