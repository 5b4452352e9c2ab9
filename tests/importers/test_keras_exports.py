"""Keras models as users convert them: TensorFlow's converter, unknown batch, several edges."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.goldens import tflite_reference, tflm
from tinykit.importers import load_model
from tinykit.ops.evaluate import evaluate
from tinykit.passes import simplify

pytestmark = pytest.mark.slow

# Run in a process of its own: TensorFlow needs a gigabyte, and must not meet tflite-runtime.
EXPORT = '''
import sys, json, numpy as np, tensorflow as tf
L, K = tf.keras.layers, tf.keras
tf.keras.utils.set_random_seed(1)

def one_dimensional():
    """Convolutions over time as Keras has them: stacked, residual, separable, strided, dilated."""
    x = i = K.Input((50, 6))
    x = L.Conv1D(8, 5, padding="same", use_bias=False)(x)
    x = L.BatchNormalization()(x)
    x = L.ReLU()(x)
    x = L.MaxPooling1D(2)(x)
    y = L.Conv1D(8, 3, padding="same", activation="relu")(x)
    x = L.Add()([x, y])
    x = L.DepthwiseConv1D(3, strides=2)(x)
    x = L.AveragePooling1D(2)(x)
    x = L.SeparableConv1D(12, 3, padding="same")(x)
    x = L.Conv1D(10, 3, padding="causal")(x)
    x = L.GlobalAveragePooling1D()(x)
    return K.Model(i, L.Dense(7, activation="softmax")(x))

def residual():
    """Two-dimensional, with strides, explicit padding, ReLU6, skips and a flattened head."""
    x = i = K.Input((16, 16, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same")(x)
    x = L.BatchNormalization()(x)
    x = L.ReLU(6.0)(x)
    y = L.ZeroPadding2D(((0, 1), (0, 1)))(x)
    y = L.DepthwiseConv2D(3, depth_multiplier=2)(y)
    y = L.ReLU(6.0)(y)
    y = L.Conv2D(8, 1)(y)
    y = L.ZeroPadding2D(((0, 1), (1, 0)))(y)
    x = L.ReLU()(L.Add()([x, y]))
    y = L.Conv2D(16, 1, strides=2)(x)
    x = L.MaxPooling2D(3, 2, padding="same")(x)
    x = L.Conv2D(16, 3, padding="same", dilation_rate=2)(x)
    x = L.Add()([x, y])
    x = L.AveragePooling2D(2)(x)
    x = L.Flatten()(x)
    x = L.Dense(20, activation="relu")(x)
    return K.Model(i, L.Dense(5)(x))

def dense_over_time():
    """Dense on a sequence becomes a Tensordot with shapes computed at run time."""
    x = i = K.Input((30, 4))
    x = L.Dense(6, activation="relu")(x)
    x = L.Dense(5)(x)
    x = L.Flatten()(x)
    return K.Model(i, L.Dense(3, activation="softmax")(x))

def plain():
    """A multi-layer perceptron on a vector."""
    return K.Sequential([K.Input((12,)), L.Dense(16, activation="relu6"), L.Dense(3)])

for name, edges in zip(sys.argv[2::2], sys.argv[3::2]):
    K.backend.clear_session()
    model = globals()[name]()
    shape = model.input_shape[1:]
    for weight in model.weights:  # biases and statistics other than zero and one
        if len(weight.shape) == 1:
            weight.assign(weight + 0.1 * np.random.rand(*weight.shape))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [np.random.randn(1, *shape).astype(np.float32)] for _ in range(20)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    kind = {"int8": tf.int8, "uint8": tf.uint8, "float": tf.float32}[edges]
    converter.inference_input_type = converter.inference_output_type = kind
    open(f"{sys.argv[1]}/{name}.tflite", "wb").write(converter.convert())
    layers = [layer.name for layer in model.layers if layer.weights]
    json.dump(layers, open(f"{sys.argv[1]}/{name}.json", "w"))
'''


EDGES = {
    "one_dimensional": "int8",
    "residual": "uint8",
    "dense_over_time": "int8",
    "plain": "float",
}
KINDS = {
    "one_dimensional": "conv2d max_pool2d conv2d add depthwise_conv2d average_pool2d "
    "depthwise_conv2d conv2d conv2d mean fully_connected softmax",
    # the converter adds the bias of a dilated convolution apart
    "residual": "quantize conv2d depthwise_conv2d conv2d pad add conv2d max_pool2d conv2d add "
    "add average_pool2d fully_connected fully_connected quantize",
    "dense_over_time": "fully_connected add fully_connected add fully_connected softmax",
    "plain": "fully_connected fully_connected",
}
NAMES = {
    "one_dimensional": "conv1d conv1d_1 separable_conv1d dense",
    "residual": "conv2d depthwise_conv2d conv2d_1 conv2d_2 conv2d_3 dense",
    "dense_over_time": "dense dense_1 dense_2",
    "plain": "dense",
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    folder = tmp_path_factory.mktemp("exports")
    arguments = [word for pair in EDGES.items() for word in pair]
    result = subprocess.run(
        [sys.executable, "-c", EXPORT, str(folder), *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


@pytest.mark.parametrize("name", EDGES)
def test_export(name: str, exports: Path) -> None:
    path = exports / f"{name}.tflite"
    content = path.read_bytes()
    raw = load_model(path)
    simple = simplify(raw)
    assert [op.kind for op in simple.ops if op.kind != "reshape"] == KINDS[name].split()
    assert set(NAMES[name].split()) <= {op.name for op in raw.ops}
    source = raw[raw.inputs[0]]
    limits = np.iinfo(np.dtype(source.dtype))
    x = np.random.default_rng(2).integers(limits.min, limits.max + 1, source.shape)
    x = given = x.astype(source.dtype)
    if EDGES[name] == "float":
        given = (x.astype(np.float32) - source.quant.zero_point0) * np.float32(source.quant.scale0)
    # TFLM takes declared shapes for real ones: where the batch is computed it is not a reference.
    if name in ("residual", "dense_over_time"):
        expected = tflite_reference([(content, given)])[0]
    else:
        expected = tflm(content, given)
    for graph in (raw, simple):
        y = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        if EDGES[name] == "float":
            quant = graph[graph.outputs[0]].quant
            y = (y.astype(np.float32) - quant.zero_point0) * np.float32(quant.scale0)
        np.testing.assert_array_equal(y, expected)


def test_names_are_those_of_keras(exports: Path) -> None:
    for name, given in NAMES.items():
        assert set(given.split()) <= set(json.loads((exports / f"{name}.json").read_text()))
