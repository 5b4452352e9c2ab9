"""Branched convolutions: one convolution computes what their branches did, also in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tinykit.compress.quantize import quantize
from tinykit.compress.reparameterize import branched_conv2d, deploy
from tinykit.errors import ModelError
from tinykit.importers import load_model
from tinykit.ops.evaluate import evaluate
from tinykit.passes import simplify


def trained() -> tuple[Any, np.ndarray]:
    """A small model with branches of every kind, after a few steps on noise."""
    tf.keras.utils.set_random_seed(7)
    x = inputs = tf.keras.Input((11, 9, 4))
    x = branched_conv2d(4, 3, activation="relu", name="same_shape")(x)
    x = branched_conv2d(8, 5, strides=2, activation="relu", name="halves")(x)
    x = branched_conv2d(8, 1, name="pointwise")(x)
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(3, activation="softmax")(x))
    model.compile(tf.keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    random = np.random.default_rng(0)
    samples = random.normal(0.5, 2.0, (96, 11, 9, 4)).astype(np.float32)
    model.fit(samples, random.integers(0, 3, 96), batch_size=16, epochs=3, verbose=0)
    return model, samples


@pytest.fixture(scope="module")
def model() -> tuple[Any, np.ndarray]:
    return trained()


def test_one_convolution_is_the_sum_of_its_branches(model: tuple[Any, np.ndarray]) -> None:
    branched, samples = model
    for layer in branched.layers[1:4]:
        for norm in layer.norms:  # training has moved them, so fusing them is no identity
            assert np.abs(norm.get_weights()[2]).max() > 0.01
    deployed = deploy(branched)
    assert [type(layer).__name__ for layer in deployed.layers[1:4]] == ["Conv2D"] * 3
    assert deployed.count_params() == 148 + 808 + 72 + 27  # (3·3·4 + 1)·4, (5·5·4 + 1)·8, …
    for outputs in ("same_shape", "halves", "pointwise", branched.layers[-1].name):
        before, after = (
            tf.keras.Model(m.input, m.get_layer(outputs).output)(samples, training=False).numpy()
            for m in (branched, deployed)
        )
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5 * np.abs(before).max())


def test_what_is_deployed_becomes_plain_convolutions_in_int8(
    model: tuple[Any, np.ndarray], tmp_path: Path
) -> None:
    branched, samples = model
    quantize(deploy(branched), samples, tmp_path / "model.tflite")
    graph = simplify(load_model(tmp_path / "model.tflite"))
    assert [op.kind for op in graph.ops][:3] == ["conv2d"] * 3
    quant, probability = graph[graph.inputs[0]].quant, graph[graph.outputs[0]].quant
    expected = branched(samples[:8], training=False).numpy()
    codes = np.clip(np.rint(samples[:8] / quant.scale0) + quant.zero_point0, -128, 127)
    for x, row in zip(codes.astype(np.int8), expected, strict=True):
        output = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]].astype(float)
        real = (output - probability.zero_point0) * probability.scale0
        np.testing.assert_allclose(real.reshape(-1), row, atol=0.05)


def test_an_even_kernel_has_no_middle() -> None:
    with pytest.raises(ModelError, match="2x2"):
        branched_conv2d(4, 2)
