"""A frontend before a model: rows of features that fill the model's input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from tinykit.errors import UsageError
from tinykit.frontend.audio import AudioFrontend
from tinykit.frontend.motion import MotionWindow
from tinykit.frontend.reference import AudioReference
from tinykit.ir import Array, Tensor

LARGEST = 65536  # of multiplier and divisor


@dataclass(frozen=True)
class ModelFrontend:
    """`rows` rows of features are an input of the model; the next one begins `hop` rows later."""

    source: AudioFrontend | MotionWindow
    rows: int
    hop: int

    @property
    def audio(self) -> bool:
        return isinstance(self.source, AudioFrontend)

    @property
    def axes(self) -> int:
        """int16 values of a reading: 1 of sound."""
        return len(self.source.mean) if isinstance(self.source, MotionWindow) else 1

    @property
    def features(self) -> int:
        """Values of a row."""
        return self.axes if isinstance(self.source, MotionWindow) else self.source.features

    @property
    def readings(self) -> int:
        """How many an input sees."""
        return self.span(1)

    def span(self, inputs: int) -> int:
        """How many readings so many inputs see."""
        f, rows = self.source, self.rows + (inputs - 1) * self.hop
        return rows if isinstance(f, MotionWindow) else f.frame + (rows - 1) * f.hop

    def inputs(self, recording: Array, source: str = "recording") -> Array:
        """int8 [inputs, rows * features], all that an int16 recording holds: what C makes of it.

        recording: [samples] of sound, [readings, axes] of motion; `source` names it. UsageError
        where it is not that, or too short.
        """
        x, f = self.checked(recording, source), self.source
        return self.cut(
            f.normalize(x) if isinstance(f, MotionWindow) else AudioReference(f).push(x)[0]
        )

    def cut(self, rows: Array) -> Array:
        """[inputs, rows * features] of [many rows, features]."""
        starts = range(0, len(rows) - self.rows + 1, self.hop)
        return np.stack([rows[start : start + self.rows].reshape(-1) for start in starts])

    def checked(self, recording: Array, source: str) -> Array:
        """The recording as `inputs` takes it."""
        x = recording
        if self.audio and x.ndim == 2 and x.shape[1] == 1:
            x = x[:, 0]
        if x.dtype != np.int16 or x.shape[1:] != (() if self.audio else (self.axes,)):
            wanted = "[samples]" if self.audio else f"[readings, {self.axes}]"
            raise UsageError(
                f"{source}: {x.dtype}{list(recording.shape)}; the frontend takes int16 {wanted}"
            )
        if len(x) < self.readings:
            raise UsageError(
                f"{source}: {len(x)} {'samples' if self.audio else 'readings'}; an input of the "
                f"model sees {self.readings}",
                "longer recordings, or silence in front of them",
            )
        return x


def audio_for(
    frontend: AudioFrontend, tensor: Tensor, hop: int | None, feature_scale: float | None
) -> ModelFrontend:
    """A frontend whose rows are quantized as the model's input is.

    hop: rows from input to input; None: as many as an input has. feature_scale: what one unit of a
    feature is to the model; None: the frontend's own multiplier and divisor are kept.
    UsageError where they do not go together.
    """
    rows = _rows(tensor, frontend.features)
    if feature_scale is not None:
        ratio = feature_scale / tensor.quant.scale0
        if not 1 / LARGEST <= ratio <= LARGEST:
            raise UsageError(
                f"frontend: feature_scale = {feature_scale!r}: is {ratio:.3g} steps of the model's "
                f"input, {tensor.name}; 2^-16 to 2^16 are possible"
            )
        if ratio <= 1:
            part = Fraction(ratio).limit_denominator(LARGEST)
        else:
            part = 1 / Fraction(1 / ratio).limit_denominator(LARGEST)
        frontend = replace(frontend, multiplier=part.numerator, divisor=part.denominator)
    frontend = replace(frontend, zero_point=tensor.quant.zero_point0)
    return ModelFrontend(frontend, rows, _hop(hop, rows))


def motion_for(
    mean: tuple[float, ...], deviation: tuple[float, ...], tensor: Tensor, hop: int | None
) -> ModelFrontend:
    """Windows that are quantized as the model's input is; arguments as above."""
    rows = _rows(tensor, max(1, len(mean)))
    hop = _hop(hop, rows)
    quant = tensor.quant
    window = MotionWindow(rows, hop, mean, deviation, quant.scale0, quant.zero_point0)
    return ModelFrontend(window, rows, hop)


def _rows(tensor: Tensor, features: int) -> int:
    """How many rows fill the model's input."""
    shape = f"{tensor.dtype}{list(tensor.shape)}"
    if tensor.dtype != "int8" or tensor.quant.per_channel:
        raise UsageError(
            f"frontend: the model's input {tensor.name} is {shape}; a frontend makes int8 of one "
            "scale"
        )
    if tensor.size % features:
        raise UsageError(
            f"frontend: the model's input {tensor.name} is {shape}, {tensor.size} values: not "
            f"whole rows of {features} features",
            "other channels, mfcc or axes",
        )
    return tensor.size // features


def _hop(hop: int | None, rows: int) -> int:
    if hop is not None and not 1 <= hop <= rows:
        raise UsageError(f"frontend: input_hop = {hop}: it must be from 1 to the input's {rows}")
    return hop or rows
