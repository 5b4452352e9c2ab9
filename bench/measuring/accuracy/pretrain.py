"""Networks that know the others: trained in Keras, quantized by tinykit, kept by what made them."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measuring.accuracy.problem import Labelled
from tinykit.data import Samples, codings
from tinykit.importers import load_model
from tinykit.importers.keras import import_tensorflow, quiet
from tinykit.ir import Graph
from tinykit.passes import simplify

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

BATCH = 64
RATE = 3e-3  # of Adam, falling to 0 along a cosine
COPIES = 3  # of each sample, each varied in another way
CALIBRATION = 200
SEED = 1


def pretrained(
    build: partial[Any],
    x: Floats,
    y: Labels,
    cache: Path,
    name: str,
    epochs: int,
    augment: Callable[[Floats, np.random.Generator], Floats],
) -> Graph:
    """The int8 graph of a network trained on x [n, …] and y. Made once for the same data, settings,
    and text of the functions that vary the samples and build the network."""
    digest = hashlib.sha256(repr((name, epochs, BATCH, RATE, COPIES, SEED, build.args)).encode())
    for function in (augment, build.func, _train):
        digest.update(inspect.getsource(function).encode())
    digest.update(np.ascontiguousarray(x).tobytes() + y.tobytes())
    path = cache / f"{name}-{digest.hexdigest()[:16]}.tflite"
    if not path.exists():
        _train(build, x, y, path, epochs, augment)
    return simplify(load_model(path))


def _train(
    build: Callable[[], Any],
    x: Floats,
    y: Labels,
    path: Path,
    epochs: int,
    augment: Callable[[Floats, np.random.Generator], Floats],
) -> None:
    import_tensorflow()
    import keras

    from tinykit.compress.quantize import quantize

    keras.utils.set_random_seed(SEED)
    random = np.random.default_rng(SEED)
    with quiet():
        model = build()
        varied = np.concatenate([augment(x, random) for _ in range(COPIES)])
        steps = -(-len(varied) // BATCH) * epochs
        schedule = keras.optimizers.schedules.CosineDecay(RATE, steps)
        model.compile(
            optimizer=keras.optimizers.Adam(schedule), loss="sparse_categorical_crossentropy"
        )
        model.fit(varied, np.tile(y, COPIES), batch_size=BATCH, epochs=epochs, verbose=0)
    chosen = random.permutation(len(x))[:CALIBRATION]
    whole = path.with_suffix(".part.tflite")
    report = quantize(model, x[chosen], whole, labels=y[chosen])
    facts = {"float": report.accuracy_float, "int8": report.accuracy_int8}
    path.with_suffix(".json").write_text(json.dumps(facts))
    whole.replace(path)


def quantized(graph: Graph, x: Floats, y: Labels) -> Labelled:
    """Samples as the network's input has them."""
    codes = Samples(x, y.astype(np.int32), "bench").quantized(codings(graph))
    return Labelled(codes, y)


def separable(shape: tuple[int, ...], classes: int, filters: int, blocks: int, first: Any) -> Any:
    """A small depthwise-separable network: a strided convolution, blocks, an average, a head."""
    import keras
    from keras import layers

    def normalised(x: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    sample = keras.Input(shape)
    flat = len(shape) == 2
    conv = layers.Conv1D if flat else layers.Conv2D
    depthwise = layers.DepthwiseConv1D if flat else layers.DepthwiseConv2D
    kernel, stride = first
    x = normalised(conv(filters, kernel, stride, padding="same", use_bias=False)(sample))
    for _ in range(blocks):
        x = normalised(depthwise(5 if flat else 3, padding="same", use_bias=False)(x))
        x = normalised(conv(filters, 1, use_bias=False)(x))
    x = (layers.GlobalAveragePooling1D() if flat else layers.GlobalAveragePooling2D())(x)
    x = layers.Dense(classes, name="head")(x)
    return keras.Model(sample, layers.Softmax()(x))
