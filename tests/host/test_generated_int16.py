"""Whole int16x8 models as TensorFlow converts them: generated C equals TensorFlow Lite Micro."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.generated import infer_generated
from tests.support.goldens import tflm, tflm_stream
from tests.support.int16_models import Int16Graph
from tests.support.streaming_models import CHANNELS, NEW, streaming_model
from tests.support.tflite_writer import write
from tinykit.codegen import generate
from tinykit.errors import ModelError, PlanError
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.ir import Array
from tinykit.passes.head import replace_head
from tinykit.passes.ports import input_places, output_places
from tinykit.training.plan import head_only


def gated() -> Any:
    """Sigmoid, tanh, products, concatenation, a leaky activation: the elementwise operators."""
    import tensorflow as tf

    layers = tf.keras.layers
    x = inputs = tf.keras.Input((12, 10, 4))
    x = layers.LeakyReLU(0.2)(layers.Conv2D(8, 3, padding="same")(x))
    gate = layers.Conv2D(8, 1, activation="sigmoid")(x)
    x = layers.Concatenate()([layers.Multiply()([x, gate]), layers.Subtract()([x, gate])])
    x = layers.AveragePooling2D(3, strides=1)(layers.ZeroPadding2D((1, 2))(x))
    x = layers.Conv2D(6, (3, 2), strides=2, activation="tanh", use_bias=False)(x)
    return tf.keras.Model(inputs, layers.Dense(7)(layers.Flatten()(x)))


def converted(model: Any, path: Path) -> Array:
    """Writes the .tflite; returns samples as int16."""
    from tests.support.keras_models import as_if_trained
    from tinykit.importers.keras import convert

    samples = as_if_trained(model)
    path.write_bytes(convert(model, samples, int16=True))
    graph = load_model(path)
    scale = graph[graph.inputs[0]].quant.scale0
    return np.clip(np.rint(samples / scale), -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("name", ["residual_2d", "convolutional_1d", "gated"])
def test_keras_model_equals_tflm(name: str, tmp_path: Path) -> None:
    from tests.support import keras_models

    model = gated() if name == "gated" else getattr(keras_models, name)()
    path = tmp_path / "model.tflite"
    samples = converted(model, path)
    extreme = np.where(samples[:2] < 0, -(2**15), 2**15 - 1).astype(np.int16)
    inputs = [x[None] for x in np.concatenate([samples[:4], extreme])]
    outputs = infer_generated(load_model(path), inputs, tmp_path, sanitize=True)
    for x, y in zip(inputs, outputs, strict=True):
        expected = tflm(path.read_bytes(), x)
        assert expected.dtype == np.int16
        assert len(np.unique(expected)) > 2
        np.testing.assert_array_equal(y, expected)


def two_branches() -> bytes:
    """Two int16 inputs; their sum, and the first one as int8."""
    graph = Int16Graph()
    a, b = graph.tensor((1, 5), 0.001), graph.tensor((1, 5), 0.002)
    y = graph.tensor((1, 5), 0.003)
    graph.operator("ADD", [a, b], y, {}, version=2)
    narrow = super(Int16Graph, graph).tensor((1, 5), 0.1, 3)
    graph.operator("QUANTIZE", [a], narrow)
    graph.inputs, graph.outputs = [a, b], [y, narrow]
    return write(graph)


def test_several_inputs_and_outputs_of_both_types(tmp_path: Path) -> None:
    path = tmp_path / "two.tflite"
    path.write_bytes(two_branches())
    graph = load_model(path)
    assert [place.first for place in input_places(graph)] == [0, 10]
    assert [place.first for place in output_places(graph)] == [0, 10]
    manifest = generate(graph, tmp_path, name="two")
    a = np.array([[-32768, -5, 0, 700, 32767]], np.int16)
    b = np.array([[1000, -7, 1, 12345, -32768]], np.int16)
    raw = HostModel(tmp_path).infer(np.concatenate([a, b], axis=1).view(np.int8)).tobytes()
    total, narrow = (port.codes(raw) for port in manifest.outputs)
    assert np.abs(total - (a + 2.0 * b)[0] / 3).max() < 1  # 0.001 a + 0.002 b in steps of 0.003
    assert narrow.tolist() == [-128, 3, 3, 10, 127]


def test_a_detour_through_int8_stays(tmp_path: Path) -> None:
    """Equal scales, zero points 128 apart: back from int8 the codes are not what they were."""
    graph = Int16Graph()
    x = graph.tensor((1, 5), 0.001)
    narrow = super(Int16Graph, graph).tensor((1, 5), 0.001, -128)
    back, y = graph.tensor((1, 5), 0.001), graph.tensor((1, 5), 0.001)
    graph.operator("QUANTIZE", [x], narrow)
    graph.operator("QUANTIZE", [narrow], back)
    graph.operator("RELU", [back], y)
    graph.inputs, graph.outputs = [x], [y]
    path = tmp_path / "detour.tflite"
    path.write_bytes(write(graph))
    codes = np.array([[-300, -1, 5, 255, 256]], np.int16)
    (found,) = infer_generated(load_model(path), [codes], tmp_path, sanitize=False)
    np.testing.assert_array_equal(found, [[0, 0, 5, 255, 255]])
    np.testing.assert_array_equal(found, tflm(path.read_bytes(), codes))


def test_a_float_input_and_output_are_the_edges(tmp_path: Path) -> None:
    """As the converter writes them unless it is told otherwise."""
    graph = Int16Graph()
    x = graph.tensor((1, 6), None, type="FLOAT32")
    q, r = graph.tensor((1, 6), 0.01), graph.tensor((1, 6), 0.01)
    y = graph.tensor((1, 6), None, type="FLOAT32")
    graph.operator("QUANTIZE", [x], q)
    graph.operator("RELU", [q], r)
    graph.operator("DEQUANTIZE", [r], y)
    graph.inputs, graph.outputs = [x], [y]
    path = tmp_path / "edges.tflite"
    path.write_bytes(write(graph))
    found = load_model(path)
    codes = np.array([[-300, -1, 0, 1, 299, 32767]], np.int16)
    (y_codes,) = infer_generated(found, [codes], tmp_path / "c", sanitize=False)
    real = tflm(path.read_bytes(), (codes * np.float32(0.01)).astype(np.float32))
    np.testing.assert_allclose(y_codes * np.float32(0.01), real, rtol=1e-6)


def test_a_stream_equals_tflm(tmp_path: Path) -> None:
    """Ring buffers of int16 in variables."""
    content = streaming_model(kind=Int16Graph)
    path = tmp_path / "stream.tflite"
    path.write_bytes(content)
    random = np.random.default_rng(1)
    frames = list(random.integers(-(2**15), 2**15, (100, 1, NEW, 1, CHANNELS)).astype(np.int16))
    outputs = infer_generated(load_model(path), frames, tmp_path, sanitize=False)
    for y, expected in zip(outputs, tflm_stream(content, frames), strict=True):
        assert expected.dtype == np.int16
        np.testing.assert_array_equal(y, expected)


def test_header_gives_int16_and_learning_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    graph = Int16Graph()
    x = graph.tensor((1, 8), 0.001)
    weights = graph.constant(np.arange(-12, 12, dtype=np.int8).reshape(3, 8), (0.01,))
    y = graph.tensor((1, 3), 0.01)
    graph.operator("FULLY_CONNECTED", [x, weights], y, {}, version=11)
    graph.inputs, graph.outputs = [x], [y]
    path.write_bytes(write(graph))
    model = load_model(path)
    generate(model, tmp_path, name="wide")
    header = (tmp_path / "wide.h").read_text()
    assert "int16_t *wide_input(void);" in header
    assert "const int16_t *wide_infer(void);" in header
    assert "#define WIDE_INPUT_BYTES 16\n#define WIDE_INPUT_SIZE 8\n" in header
    with pytest.raises(PlanError, match="model has int16 activations: such a model infers"):
        generate(model, tmp_path / "learns", name="learns", plan=head_only())
    with pytest.raises(ModelError, match="int16 activations: a new head is of int8"):
        replace_head(model, 3, np.zeros((1, 8), np.int16))


def weighted(size: int, bias: Array | None, builtin: str = "FULLY_CONNECTED") -> Int16Graph:
    """One layer whose weights are all 127."""
    graph = Int16Graph()
    x = graph.tensor((1, size) if builtin == "FULLY_CONNECTED" else (1, 1, size, 1), 0.001)
    shape = (1, size) if builtin == "FULLY_CONNECTED" else (1, 1, size, 1)
    weights = graph.constant(np.full(shape, 127, np.int8), (0.01,), axis=0)
    inputs = [x, weights]
    if bias is not None:
        inputs.append(super(Int16Graph, graph).constant(bias, (0.001 * 0.01,)))
    y = graph.tensor((1, 1) if builtin == "FULLY_CONNECTED" else (1, 1, 1, 1), 10.0)
    options = {} if builtin == "FULLY_CONNECTED" else {
        "Padding": 1, "StrideH": 1, "StrideW": 1, "DepthMultiplier": 1,
    }  # fmt: skip
    graph.operator(builtin, inputs, y, options, version=6)
    graph.inputs, graph.outputs = [x], [y]
    return graph


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (weighted(517, np.zeros(1, np.int32)), "sums of channel 0 can exceed 32 bits"),
        (weighted(8, np.array([2**47], np.int64)), "sums of channel 0 can exceed 48 bits"),
        (weighted(8, np.zeros(1, np.int32), "DEPTHWISE_CONV_2D"), "biases of 32 bits"),
    ],
)
def test_sums_that_do_not_hold_are_refused(graph: Int16Graph, says: str, tmp_path: Path) -> None:
    path = tmp_path / "sums.tflite"
    path.write_bytes(write(graph))
    with pytest.raises(ModelError, match=says):
        load_model(path)


def test_long_sums_of_the_largest_products(tmp_path: Path) -> None:
    """Beyond 510 products a 32-bit sum would overflow."""
    path = tmp_path / "long.tflite"
    graph = weighted(4001, np.array([-(2**40)], np.int64))
    path.write_bytes(write(graph))
    inputs = [np.full((1, 4001), value, np.int16) for value in (-32768, 32767)]
    outputs = infer_generated(load_model(path), inputs, tmp_path, sanitize=True)
    for x, y in zip(inputs, outputs, strict=True):
        np.testing.assert_array_equal(y, tflm(path.read_bytes(), x))
