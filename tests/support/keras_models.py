"""Small Keras models, converted to full int8 by TensorFlow's own converter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tinykit.ir import Array


def residual_2d() -> Any:
    layers = tf.keras.layers
    x = inputs = tf.keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    skip = x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = layers.Conv2D(8, 1)(layers.ReLU()(x))
    x = layers.ReLU()(layers.Add()([x, skip]))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.Conv2D(12, 3, strides=2, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return tf.keras.Model(inputs, layers.Dense(5, activation="softmax")(x))


def convolutional_1d() -> Any:
    layers = tf.keras.layers
    x = inputs = tf.keras.Input((50, 6))
    x = layers.Conv1D(12, 5, strides=2, padding="same", activation="relu")(x)
    x = layers.MaxPooling1D(2)(layers.Conv1D(16, 3, activation="relu")(x))
    x = layers.GlobalAveragePooling1D()(layers.Conv1D(16, 3, padding="same", activation="relu")(x))
    return tf.keras.Model(inputs, layers.Dense(6, activation="softmax")(layers.Dropout(0.2)(x)))


def as_if_trained(model: Any, seed: int = 0) -> Array:
    """Gives no weight just its default; returns float samples."""
    random = np.random.default_rng(seed)
    for weights in model.trainable_variables:
        centre = 1.0 if "gamma" in weights.name else 0.0
        spread = 1.0 / np.sqrt(np.prod(weights.shape[:-1])) if len(weights.shape) > 1 else 0.1
        weights.assign(tf.constant(random.normal(centre, spread, weights.shape), tf.float32))
    return random.normal(0, 1, (40, *model.input_shape[1:])).astype(np.float32)


def convert(model: Any, path: Path, seed: int = 0) -> Array:
    """Write the model as full int8 .tflite; returns the float samples it was fitted to."""
    samples = as_if_trained(model, seed)

    def representative() -> Iterator[list[Array]]:
        for sample in samples:
            yield [sample[None]]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return samples
