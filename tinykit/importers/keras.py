"""Keras models, through TensorFlow's converter: full int8 by post-training quantization.

TensorFlow is imported inside functions only: nothing else of tinykit needs it. What it prints on
the file descriptor of stderr is kept from the user, and shown only as part of an error.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinykit.errors import ModelError, TinykitError

if TYPE_CHECKING:
    import keras

    from tinykit.ir import Graph

FloatArray = npt.NDArray[np.float32]

ENOUGH_SAMPLES = 100  # more of them change the ranges little; fewer make them a matter of luck
_INSTALL = "pip install 'tinykit-mcu[tensorflow]'"


@contextmanager
def quiet() -> Iterator[None]:
    """Send what C++ and Python write to stderr to a file that nobody reads."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def import_tensorflow() -> Any:
    """The module `tensorflow`, quiet. Raises TinykitError when it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    if "tflite_runtime" in sys.modules and "tensorflow" not in sys.modules:
        raise TinykitError(
            "TensorFlow cannot be loaded after tflite-runtime in one process",
            "run the one or the other in a process of its own",
        )
    try:
        with quiet():
            import tensorflow
            from absl import logging

            logging.set_verbosity(logging.ERROR)
    except ImportError as error:
        raise TinykitError(f"this needs TensorFlow: {error}", _INSTALL) from None
    return tensorflow


def open_keras(model: str | Path | keras.Model) -> keras.Model:
    """The Keras model of a .keras or .h5 file; a model that is open already is given back.

    Raises ModelError naming the file when it is absent, damaged, or needs code that is not there.
    """
    if not isinstance(model, str | Path):
        return model
    path = Path(model)
    if not path.is_file():
        raise ModelError(f"{path}: no such file", "give a .keras or .h5 file")
    import_tensorflow()
    import keras

    try:
        with quiet():
            return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many types, with messages of many lines
        reason = _first_line(error)
        raise ModelError(
            f"{path}: Keras cannot open it: {reason}",
            "save it with this version of Keras, without custom layers",
        ) from error


def checked_samples(model: keras.Model, samples: npt.ArrayLike) -> FloatArray:
    """[n, …] float32 that the model takes; [n, all values] for several inputs, in their order.

    Raises ModelError when number, shape or values don't fit.
    """
    for shape in input_shapes(model):
        if None in shape:
            raise ModelError(
                f"model `{model.name}` has an input of unknown size {list(shape)}",
                "give keras.Input every dimension but the batch",
            )
    shapes = input_shapes(model)
    expected = shapes[0] if len(shapes) == 1 else (sum(map(math.prod, shapes)),)
    values = np.asarray(samples)
    if values.dtype.kind != "f" or values.shape[1:] != expected or not len(values):
        raise ModelError(
            f"samples are {values.dtype} {list(values.shape)}; model `{model.name}` needs float32 "
            f"[n, {', '.join(map(str, expected))}], n ≥ 1",
            f"about {ENOUGH_SAMPLES} samples of the training data, as the model sees them, do well",
        )
    if not np.isfinite(values).all():
        raise ModelError("samples hold NaN or infinite values", "mend the data loader")
    return values.astype(np.float32)


def input_shapes(model: keras.Model) -> list[tuple[int, ...]]:
    """Of each input, without the batch."""
    return [tuple(tensor.shape[1:]) for tensor in model.inputs]


def input_parts(sample: FloatArray, shapes: Sequence[tuple[int, ...]]) -> list[FloatArray]:
    """What each input gets of one sample, with a batch of 1."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = np.split(sample.reshape(-1), ends)
    return [part.reshape(1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def keras_to_tflite(model: str | Path | keras.Model, samples: npt.ArrayLike) -> bytes:
    """A full int8 .tflite (int8 in and out): ranges from `samples` [n, …] float32, batch 1.

    Raises ModelError when the model cannot be opened or converted, or the samples don't match.
    """
    opened = open_keras(model)
    return convert(opened, checked_samples(opened, samples))


def convert(model: keras.Model, samples: FloatArray | None, int16: bool = False) -> bytes:
    """The .tflite of a model: full int8 calibrated with `samples`, or float32 without them.

    int16: activations, inputs and outputs of int16, with weights of int8.
    """
    tf = import_tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    shapes = input_shapes(model)
    names = ["input"] if len(shapes) == 1 else [f"input_{i}" for i in range(len(shapes))]
    try:
        with quiet():
            signature = [
                tf.TensorSpec((1, *shape), tf.float32, name=name)
                for shape, name in zip(shapes, names, strict=True)
            ]
            call = tf.function(
                lambda *x: model(x[0] if len(x) == 1 else list(x), training=False),
                input_signature=signature,
            )
            frozen = convert_variables_to_constants_v2(call.get_concrete_function())
            converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
            if samples is not None:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.representative_dataset = lambda: (input_parts(x, shapes) for x in samples)
                kinds = tf.lite.OpsSet
                wide = kinds.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
                kind = wide if int16 else kinds.TFLITE_BUILTINS_INT8
                converter.target_spec.supported_ops = [kind]
                converter.inference_input_type = tf.int16 if int16 else tf.int8
                converter.inference_output_type = tf.int16 if int16 else tf.int8
            return bytes(converter.convert())
    except Exception as error:  # the converter raises many types, with messages of many lines
        raise ModelError(
            f"TensorFlow's converter refuses model `{model.name}`: {_first_line(error)}",
            "docs/operators.md lists what tinykit runs",
        ) from error


def load_keras(path: Path, samples: npt.ArrayLike | None = None) -> Graph:
    """The graph of a Keras file, quantized with `samples` as `keras_to_tflite` does.

    Raises ModelError without samples: ranges are measured, never guessed.
    """
    if samples is None:
        raise ModelError(
            f"{path}: a float model must be quantized with samples of its data",
            f"tinykit quantize {path} --out {path.with_suffix('.tflite').name}",
        )
    from tinykit.importers.tflite import load_tflite

    with tempfile.TemporaryDirectory() as folder:
        quantized = Path(folder) / path.with_suffix(".tflite").name
        quantized.write_bytes(keras_to_tflite(path, samples))
        return load_tflite(quantized)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
