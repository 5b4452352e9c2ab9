"""Accelerometer and other sensor windows: normalisation folded into the input's quantization."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykit.errors import UsageError
from tinykit.ir import Array


@dataclass(frozen=True)
class MotionWindow:
    """Windows of `length` int16 rows, one every `hop` rows, for a model's int8 input.

    mean and deviation: per axis, in raw sensor units; the model sees (x - mean) / deviation,
    quantized with its input's scale and zero point.  The mean is rounded to a whole unit.
    UsageError names the field that is out of its range.
    """

    length: int
    hop: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        def need(field: str, holds: bool, wanted: str) -> None:
            if not holds:
                raise UsageError(f"motion: {field} = {getattr(self, field)!r}: it must be {wanted}")

        need("length", 1 <= self.length <= 65535, "from 1 to 65535")
        need("hop", 1 <= self.hop <= self.length, "from 1 to length")
        need("mean", 1 <= len(self.mean) <= 64, "of 1 to 64 axes")
        need("mean", all(-32768 <= m <= 32767 for m in self.mean), "int16 values")
        need("deviation", len(self.deviation) == len(self.mean), "of as many axes as mean")
        need("zero_point", -128 <= self.zero_point <= 127, "an int8")
        need("scale", math.isfinite(self.scale) and self.scale > 0, "above 0")
        factors = [d * self.scale for d in self.deviation]
        need("deviation", all(2**-14 <= f <= 2**15 for f in factors), "2^-14 to 2^15 over scale")

    @property
    def tables(self) -> tuple[Array, Array, Array]:
        """int16 mean, int32 multiplier in [2^29, 2^30], uint8 shift in [15, 45], each [axes]."""
        parts = [math.frexp(1 / (d * self.scale)) for d in self.deviation]
        mean = np.array([math.floor(m + 0.5) for m in self.mean]).clip(-32768, 32767)
        multiplier = np.array([round(m * (1 << 30)) for m, _ in parts], np.int32)
        return mean.astype(np.int16), multiplier, np.array([30 - e for _, e in parts], np.uint8)

    @property
    def ram(self) -> int:
        """Bytes that `tk_motion_window` points to and keeps."""
        return self.length * len(self.mean) + 4

    def normalize(self, x: Array) -> Array:
        """int8 [rows, axes] of int16 [rows, axes]: `tk_motion_normalize`, exact."""
        mean, multiplier, shift = (t.astype(np.int64) for t in self.tables)
        scaled = (x.astype(np.int64) - mean) * multiplier
        rounded = (scaled + (np.int64(1) << (shift - 1))) >> shift
        values: Array = (rounded + self.zero_point).clip(-128, 127).astype(np.int8)
        return values

    def windows(self, x: Array) -> Array:
        """int8 [windows, length, axes] of a recording int16 [rows, axes]: what `push` yields."""
        rows = self.normalize(x)
        starts = range(0, len(rows) - self.length + 1, self.hop)
        cut = [rows[start : start + self.length] for start in starts]
        return np.array(cut, np.int8).reshape(-1, self.length, len(self.mean))
