"""Whole architectures from Keras: their inference is TFLM's, and they learn as NumPy does.

Untrained networks with random weights: what is held is the arithmetic, not the accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.generated_training import train_generated
from tests.support.goldens import tflm
from tinykit.codegen import compile_model, write
from tinykit.importers import load_model
from tinykit.ir import Array
from tinykit.ops.evaluate import evaluate
from tinykit.passes import shrink, simplify
from tinykit.passes.ports import output_places, with_output
from tinykit.training.plan import Plan
from tinykit.training.reference import ReferenceTrainer

keras = pytest.importorskip("keras", reason="TensorFlow is not installed")

from tinykit.importers.keras import keras_to_tflite  # noqa: E402

STEPS = 4


def ds_cnn() -> Any:
    layers, x = keras.layers, keras.Input((25, 10, 1))
    y = layers.Conv2D(16, (10, 4), strides=2, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    for _ in range(2):
        y = layers.DepthwiseConv2D(3, padding="same", activation="relu")(y)
        y = layers.Conv2D(16, 1, activation="relu")(y)
    return keras.Model(x, layers.Dense(5, activation="softmax")(_pooled(y)))


def residual() -> Any:
    layers, x = keras.layers, keras.Input((12, 12, 3))
    y = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    for channels, stride in ((8, 1), (12, 2)):
        z = layers.Conv2D(channels, 3, strides=stride, padding="same", activation="relu")(y)
        z = layers.Conv2D(channels, 3, padding="same")(z)
        skip = y if stride == 1 else layers.Conv2D(channels, 1, strides=stride)(y)
        y = layers.ReLU()(layers.Add()([z, skip]))
    return keras.Model(x, layers.Dense(4, activation="softmax")(_pooled(y)))


def inverted_bottleneck() -> Any:
    layers, x = keras.layers, keras.Input((16, 16, 3))
    y = layers.ReLU(6.0)(layers.Conv2D(8, 3, strides=2, padding="same")(x))
    for _ in range(2):
        z = layers.ReLU(6.0)(layers.Conv2D(24, 1)(y))
        z = layers.ReLU(6.0)(layers.DepthwiseConv2D(5, padding="same")(z))
        y = layers.Add()([y, layers.Conv2D(8, 1)(z)])
    return keras.Model(x, layers.Dense(6)(_pooled(y)))


def squeeze_excite() -> Any:
    layers, x = keras.layers, keras.Input((10, 10, 2))
    y = layers.Conv2D(12, 3, padding="same", activation="relu")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = layers.Conv2D(12, 1, activation="sigmoid")(layers.Conv2D(4, 1, activation="relu")(gate))
    return keras.Model(x, layers.Dense(4)(_pooled(layers.Multiply()([y, gate]))))


def autoencoder() -> Any:
    layers, x = keras.layers, keras.Input((40,))
    y = layers.Dense(24, activation="relu")(x)
    y = layers.Dense(6, activation="relu")(y)
    return keras.Model(x, layers.Dense(40)(layers.Dense(24, activation="relu")(y)))


def transformer() -> Any:
    """About 6,000 parameters over 20 frames of 16 features, for environmental sounds."""
    layers, x = keras.layers, keras.Input((20, 16))
    y = layers.Dense(24)(x)
    for _ in range(2):
        z = layers.LayerNormalization()(y)
        query, key, value = (layers.Dense(24)(z) for _ in range(3))
        scores = layers.Softmax()(layers.Dot((2, 2))([query, key]) * 24**-0.5)
        y = layers.Add()([y, layers.Dot((2, 1))([scores, value])])
        z = layers.Dense(12, activation="relu")(layers.LayerNormalization()(y))
        y = layers.Add()([y, layers.Dense(24)(z)])
    return keras.Model(x, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling1D()(y)))


def legendre_memory() -> Any:
    """The memory's impulse response as fixed convolutions over time, then a nonlinear read-out."""
    order, window, steps = 6, 12, 24
    i = np.arange(order)[:, None]
    j = np.arange(order)[None]
    a = (2 * i + 1) / window * np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
    b = (2 * i[:, 0] + 1) / window * (-1.0) ** i[:, 0]
    state, kernel = b, []
    for _ in range(window):
        kernel.append(state)
        state = state + a @ state
    layers, x = keras.layers, keras.Input((steps, 1))
    memory = layers.Conv1D(order, window, use_bias=False, trainable=False, name="memory")
    y = layers.Concatenate()([memory(x), layers.Cropping1D((window - 1, 0))(x)])
    memory.set_weights([np.array(kernel[::-1])[:, None, :]])
    y = layers.Dense(10, activation="tanh")(y)
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.Flatten()(y)))


def siamese() -> Any:
    """One of the twins: an embedding."""
    layers, x = keras.layers, keras.Input((14, 14, 1))
    y = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    y = layers.Conv2D(12, 3, strides=2, activation="relu")(y)
    return keras.Model(x, layers.Dense(8)(layers.Flatten()(y)))


def heatmap() -> Any:
    layers, x = keras.layers, keras.Input((12, 12, 3))
    y = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.UpSampling2D()(y))
    return keras.Model(x, layers.Conv2D(2, 1, activation="sigmoid")(y))


def detection() -> Any:
    layers, x = keras.layers, keras.Input((16, 16, 3))
    y = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.Conv2D(12, 3, strides=2, padding="same", activation="relu")(y)
    boxes = layers.Reshape((16, 4))(layers.Conv2D(4, 1)(y))
    classes = layers.Dense(3, activation="softmax")(_pooled(y))
    return keras.Model(x, [boxes, classes])


def _pooled(y: Any) -> Any:
    return keras.layers.GlobalAveragePooling2D()(y)


SQUARED = '[training]\nloss = "mean_squared_error"\n'
EMBEDS = '[training]\nloss = "triplet"\nclasses = 3\n'
ARCHITECTURES: dict[str, tuple[Callable[[], Any], str]] = {
    "ds_cnn": (ds_cnn, ""),
    "residual": (residual, ""),
    "inverted_bottleneck": (inverted_bottleneck, ""),
    "squeeze_excite": (squeeze_excite, ""),
    "autoencoder": (autoencoder, SQUARED + 'target = "input"\n'),
    "transformer": (transformer, ""),
    "legendre_memory": (legendre_memory, ""),
    "siamese": (siamese, EMBEDS),
    "heatmap": (heatmap, SQUARED),
    "detection": (detection, ""),
}


def plan_text(training: str, layers: int) -> str:
    return (
        f"[optimizer]\nlearning_rate = 0.01\n{training}"
        f'[[update]]\nlayers = "last {layers}"\nbias = true\nweights = 1.0\n'
    )


def tensorflow_lite(content: bytes, x: Array) -> Array:
    """By the kernels of TensorFlow's own interpreter."""
    import tensorflow as tf

    resolver = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    output: Array = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return output


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_infers_as_tflm_and_learns_as_numpy(name: str, tmp_path: Path) -> None:
    make, training = ARCHITECTURES[name]
    keras.utils.set_random_seed(3)
    model = make()
    random = np.random.default_rng(4)
    samples = random.normal(0, 1, (60, *model.input_shape[1:])).astype(np.float32)
    content = keras_to_tflite(model, samples)
    path = tmp_path / f"{name}.tflite"
    path.write_bytes(content)
    raw = load_model(path)
    x = [random.integers(-128, 128, raw[raw.inputs[0]].shape).astype(np.int8) for _ in range(3)]
    several = len(output_places(raw)) > 1
    for graph in (raw, shrink(simplify(raw))):
        for sample in x:
            found = evaluate(graph, {graph.inputs[0]: sample})[graph.outputs[0]]
            if name == "heatmap":  # TFLM has no TILE, tflite-runtime not this version of it
                golden = tensorflow_lite(content, sample)
            else:
                golden = tflm(content, sample)  # of several outputs the first
            size = golden.size if several else found.size
            steps = found.reshape(-1)[:size].astype(int) - golden.reshape(-1)
            assert np.abs(steps).max() <= (name == "heatmap")  # whose kernels are not the reference
    graph = simplify(with_output(raw, 1) if several else raw)
    (tmp_path / "plan.toml").write_text(plan_text(training, 3))
    plan = Plan.load(tmp_path / "plan.toml")
    compiled = compile_model(graph, name="net", plan=plan)
    write(compiled, tmp_path / "c")
    assert compiled.train is not None
    reference = ReferenceTrainer(compiled.train.graph, plan.optimizer)
    outputs = graph[graph.outputs[0]]
    if name == "heatmap":
        targets = [random.integers(-128, 128, outputs.size).astype(np.int8) for _ in range(STEPS)]
    else:
        targets = [None if name == "autoencoder" else step % 3 for step in range(STEPS)]
    requests = [(x[step % 3], target, False) for step, target in enumerate(targets)]
    initial = dict(reference.parameters)
    for (sample, target, _), (answer, block, _) in zip(
        requests, train_generated(tmp_path / "c", requests), strict=True
    ):
        step = reference.step(sample, target)
        assert np.float32(answer.loss) == np.float32(step.loss)
        for tensor in compiled.block.tensors:
            offset = compiled.block.offsets[tensor.name]
            expected = tensor.stored(reference.parameters[tensor.name]).tobytes()
            assert block[offset : offset + len(expected)] == expected, tensor.name
    changed = any(not np.array_equal(reference.parameters[n], initial[n]) for n in initial)
    assert changed
