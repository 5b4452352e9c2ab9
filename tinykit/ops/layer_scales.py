"""Per-channel constants of training, derived from the multipliers that the forward pass has.

A layer's multiplier is M = s_x * s_w / s_y for each output channel.  Backward, s_w = M * s_y / s_x;
so updates and channel scales need one constant a layer beside the tables already in flash.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from tinykit.ir import Array
from tinykit.ops.base import Field, Table

F = np.float32
MULTIPLIER_BITS = 15


@dataclass(frozen=True)
class LayerScales:
    """What a layer's backward ops know of its quantization.

    multiplier, shift: the forward pass's, per output channel or one; input, output: tensor scales;
    weights: weight scales, per output channel or one.
    """

    input: float
    output: float
    multiplier: tuple[int, ...] = field(repr=False)
    shift: tuple[int, ...] = field(repr=False)
    weights: tuple[float, ...] = field(repr=False)

    @property
    def per_channel(self) -> bool:
        return len(self.multiplier) > 1

    def real(self) -> Array:
        """float32 M per channel, as the device computes it: multiplier * 2^(shift - 31)."""
        pairs = zip(self.multiplier, self.shift, strict=True)
        return np.array([F(m) * F(math.ldexp(1.0, s - 31)) for m, s in pairs], F)

    def rates(self, constant: float) -> Array:
        """float32 constant / M per channel; 0 where M is 0."""
        reals = self.real()
        return np.array([F(constant) / m if m > 0 else F(0.0) for m in reals], F)

    @property
    def weight_exponent(self) -> int:
        """The least a with every weight scale <= 2**a."""
        mantissa, exponent = math.frexp(max(self.weights))
        return exponent - 1 if mantissa == 0.5 else exponent

    @property
    def channel_constant(self) -> float:
        """c with c * M = 2^MULTIPLIER_BITS * s_w / 2^weight_exponent, in float32."""
        top = math.ldexp(1.0, self.weight_exponent)
        return float(F(2.0**MULTIPLIER_BITS * self.output / (self.input * top)))

    def channel_multipliers(self) -> Array:
        """int16 m with m / 2^MULTIPLIER_BITS = s_w / 2^weight_exponent, rounded, at most 32767."""
        scaled = [F(F(self.channel_constant) * m) for m in self.real()]
        largest = 2**MULTIPLIER_BITS - 1
        return np.array([min(int(F(s + F(0.5))), largest) for s in scaled], np.int64)

    def fields(self) -> dict[str, Field]:
        """The members that C descriptors have for it."""
        return {
            "multiplier": Table("int32_t", np.array(self.multiplier, np.int32)),
            "multiplier_shift": Table("int8_t", np.array(self.shift, np.int8)),
            "per_channel": int(self.per_channel),
        }
