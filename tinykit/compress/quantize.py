"""Post-training quantization of a Keras model to full int8, with a report of what it cost.

The arithmetic of the result is TensorFlow Lite's: int8 everywhere (or int16 activations with int8
weights, for inference only), per-channel weights
(https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinykit.errors import ModelError, TinykitError
from tinykit.importers.keras import (
    ENOUGH_SAMPLES,
    FloatArray,
    checked_samples,
    convert,
    import_tensorflow,
    input_parts,
    open_keras,
    quiet,
)
from tinykit.importers.names import LayerNames
from tinykit.ops.fixed_point import code_range
from tinykit.ops.registry import tflite_operators

if TYPE_CHECKING:
    import keras

COMPARED_SAMPLES = 32  # per-layer errors are measured on this many


@dataclass(frozen=True)
class LayerError:
    """How far one operator's int8 outputs are from the float model's, over all samples compared.

    `signal_to_noise` is 10·log10(Σ float² / Σ (int8 − float)²) in dB, infinite for no error at all;
    `worst` the largest difference in steps of the int8 scale; `clipped` the share of the float
    values that lie beyond int8's range by more than one step. Likewise of int16.
    """

    name: str
    operator: str
    scale: float
    signal_to_noise: float
    worst: float
    clipped: float


@dataclass(frozen=True)
class QuantizationReport:
    """What was written, and what it lost. Accuracies are shares of 1, None without labels.

    `activations` is "int8" or "int16"; what is called int8 here is of the one or the other.
    """

    out: Path
    bytes_float: int
    bytes_int8: int
    samples: int
    layers: tuple[LayerError, ...]
    agreement: float
    accuracy_float: float | None
    accuracy_int8: float | None
    evaluated: int
    activations: str = "int8"

    @property
    def weakest(self) -> LayerError:
        """The layer with the lowest signal-to-noise ratio."""
        return min(self.layers, key=lambda layer: layer.signal_to_noise)

    @property
    def warning(self) -> str | None:
        """What the user should know before trusting the result."""
        if self.samples < ENOUGH_SAMPLES:
            return f"{self.samples} samples set the ranges: give {ENOUGH_SAMPLES} or more"
        return None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the path as a string."""
        return {**asdict(self), "out": str(self.out)}


def quantize(
    model: str | Path | keras.Model,
    samples: npt.ArrayLike,
    out: Path,
    *,
    labels: npt.ArrayLike | None = None,
    test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    int16: bool = False,
) -> QuantizationReport:
    """Write a full int8 .tflite of `model` to `out`, and say what it lost.

    int16: one with int16 activations, which infers only.

    `samples` [n, …] float32 set the ranges of activations. Accuracy before and after is measured
    on `test`, a pair (x, y) of samples and class numbers, or on `samples` with `labels`.
    Raises ModelError when the model, the samples or the labels are not usable.
    """
    opened = open_keras(model)
    calibration = checked_samples(opened, samples)
    if test is None and labels is not None:
        test = (samples, labels)
    if test is not None and len(opened.outputs) > 1:
        raise ModelError(
            f"model `{opened.name}` has {len(opened.outputs)} outputs; labels are for one",
            "give samples without labels, then choose an output: [model] output in tinykit.toml",
        )
    x = calibration if test is None else checked_samples(opened, test[0])
    y = None if test is None else checked_labels(test[1], len(x))
    float_bytes, int8_bytes = convert(opened, None), convert(opened, calibration, int16)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(int8_bytes)
    except OSError as error:
        raise TinykitError(f"{out}: cannot be written: {error.strerror}") from None

    runs = before, after = _Runner(float_bytes), _Runner(int8_bytes)
    # [samples, outputs]: the place of the largest value of each output
    floats, ints = (np.array([[int(np.argmax(y)) for y in run(row)] for row in x]) for run in runs)
    return QuantizationReport(
        out=out,
        bytes_float=len(float_bytes),
        bytes_int8=len(int8_bytes),
        samples=len(calibration),
        layers=_layer_errors(before, after, calibration[:COMPARED_SAMPLES]),
        agreement=float(np.mean((floats == ints).all(axis=1))),
        accuracy_float=None if y is None else float(np.mean(floats[:, 0] == y)),
        accuracy_int8=None if y is None else float(np.mean(ints[:, 0] == y)),
        evaluated=len(x),
        activations="int16" if int16 else "int8",
    )


def checked_labels(labels: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Class numbers [n]; ModelError unless there is one for each sample."""
    values = np.asarray(labels).reshape(-1)
    if len(values) != count:
        raise ModelError(f"{count} samples but {len(values)} labels", "give one label per sample")
    return values.astype(np.int64)


class _Runner:
    """A .tflite in TensorFlow's interpreter: reference kernels, every tensor kept, real values."""

    def __init__(self, model: bytes) -> None:
        tf = import_tensorflow()
        resolver = tf.lite.experimental.OpResolverType.BUILTIN_REF
        with quiet():
            self._interpreter = tf.lite.Interpreter(
                model_content=model,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=resolver,
            )
            self._interpreter.allocate_tensors()
        self._tensors = {d["index"]: d for d in self._interpreter.get_tensor_details()}
        self._inputs = self._interpreter.get_input_details()
        self._outputs = [d["index"] for d in self._interpreter.get_output_details()]
        self.operators: list[tuple[str, int]] = [
            (d["op_name"], d["outputs"][0]) for d in self._interpreter._get_ops_details()
        ]

    def scale(self, index: int) -> tuple[float, int]:
        """Scale and zero point of a tensor, (0, 0) for float."""
        scale, zero_point = self._tensors[index]["quantization"]
        return float(scale), int(zero_point)

    def dtype(self, index: int) -> str:
        return np.dtype(self._tensors[index]["dtype"]).name

    def name(self, index: int) -> str:
        return str(self._tensors[index]["name"])

    def __call__(self, sample: FloatArray) -> list[FloatArray]:
        """The model's outputs for one sample, in real values."""
        shapes = [tuple(d["shape"][1:]) for d in self._inputs]
        for details, part in zip(self._inputs, input_parts(sample, shapes), strict=True):
            scale, zero_point = self.scale(details["index"])
            value: npt.NDArray[Any] = part
            if scale:
                steps = np.rint(part / np.float32(scale)) + zero_point
                value = np.clip(steps, *code_range(details["dtype"])).astype(details["dtype"])
            self._interpreter.set_tensor(details["index"], value)
        self._interpreter.invoke()
        return [self.read(index) for index in self._outputs]

    def read(self, index: int) -> FloatArray:
        """A tensor of the last run, in real values."""
        value: FloatArray = self._interpreter.get_tensor(index).astype(np.float32)
        scale, zero_point = self.scale(index)
        return ((value - zero_point) * scale).astype(np.float32) if scale else value


def _layer_errors(before: _Runner, after: _Runner, samples: FloatArray) -> tuple[LayerError, ...]:
    """One entry per operator that both models have, in order of execution."""
    if [name for name, _ in before.operators] == [name for name, _ in after.operators]:
        pairs = [
            (name, index, other)
            for (name, other), (_, index) in zip(before.operators, after.operators, strict=True)
        ]
    else:  # the converter fused differently: go by the names of the tensors
        named = {before.name(index): index for _, index in before.operators}
        pairs = [
            (operator, index, named[after.name(index)])
            for operator, index in after.operators
            if after.name(index) in named
        ]
    pairs = [(o, index, other) for o, index, other in pairs if after.scale(index)[0]]
    signal, noise, worst, clipped, count = (np.zeros(len(pairs)) for _ in range(5))
    for sample in samples:
        before(sample), after(sample)
        for row, (_, index, other) in enumerate(pairs):
            real = before.read(other).astype(np.float64).reshape(-1)
            scale, zero_point = after.scale(index)
            error = after.read(index).astype(np.float64).reshape(-1) - real
            least, most = code_range(after.dtype(index))
            low, high = (least - zero_point - 1) * scale, (most - zero_point + 1) * scale
            signal[row] += np.sum(real**2)
            noise[row] += np.sum(error**2)
            worst[row] = max(worst[row], np.max(np.abs(error)) / scale)
            clipped[row] += np.sum((real < low) | (real > high))
            count[row] += len(real)
    layers = LayerNames(after.name(index) for _, index in after.operators)  # as the importer
    kinds = {builtin: operator.kind for builtin, operator in tflite_operators().items()}
    names = {
        index: layers.name(after.name(index), kinds.get(operator, operator.lower()), row)
        for row, (operator, index) in enumerate(after.operators)
    }
    return tuple(
        LayerError(
            name=names[index],
            operator=operator,
            scale=after.scale(index)[0],
            signal_to_noise=_decibel(signal[row], noise[row]),
            worst=float(worst[row]),
            clipped=float(clipped[row] / count[row]),
        )
        for row, (operator, index, _) in enumerate(pairs)
    )


def _decibel(signal: float, noise: float) -> float:
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf
