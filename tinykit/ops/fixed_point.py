"""TFLite's fixed-point arithmetic in NumPy: the second opinion on the C kernels.

Follows gemmlowp / TensorFlow Lite Micro with double rounding
(tensorflow/lite/kernels/internal/common.h, quantization_util.cc).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinykit.ir import Array, Quantization

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) with real = multiplier * 2**(shift - 31); multiplier in [2^30, 2^31).

    Follows QuantizeMultiplier: too small multipliers become zero.
    """
    if real == 0.0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    multiplier = math.floor(abs(mantissa) * 2**31 + 0.5) * (1 if real > 0 else -1)
    if abs(multiplier) == 2**31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        return INT32_MAX, 30
    return multiplier, shift


def quantize_multipliers(reals: Sequence[float]) -> tuple[Array, Array]:
    """quantize_multiplier for each: int32 multipliers, int8 shifts."""
    pairs = [quantize_multiplier(real) for real in reals]
    return np.array([p[0] for p in pairs], np.int32), np.array([p[1] for p in pairs], np.int8)


def doubling_high_multiply(a: Array, b: Array) -> Array:
    """SaturatingRoundingDoublingHighMul: round(a * b / 2^31), halves away from zero."""
    product = a.astype(np.int64) * b.astype(np.int64)
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    result = np.where(nudged >= 0, nudged >> 31, -((-nudged) >> 31))  # C's division truncates
    return np.minimum(result, INT32_MAX)


def rounding_shift_right(x: Array, exponent: Array | int) -> Array:
    """RoundingDivideByPOT: round(x / 2^exponent), halves away from zero; exponent >= 0."""
    x = x.astype(np.int64)
    exponent = np.asarray(exponent, np.int64)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> exponent) + ((x & mask) > threshold))


def multiply_by_quantized_multiplier(x: Array, multiplier: Array, shift: Array) -> Array:
    """round(x * multiplier * 2^(shift-31)) with TFLite's double rounding; int64 result.

    x: int32 values of any shape; multiplier, shift: broadcastable to it.
    """
    multiplier = np.asarray(multiplier, np.int64)
    shift = np.asarray(shift, np.int64)
    left = np.maximum(shift, 0)
    right = np.maximum(-shift, 0)
    shifted = x.astype(np.int64) << left
    shifted = (shifted + 2**31) % 2**32 - 2**31  # what 32-bit hardware keeps
    return rounding_shift_right(doubling_high_multiply(shifted, multiplier), right)


def code_range(dtype: str) -> tuple[int, int]:
    """The least and the largest code of an integer type."""
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def activation_range(
    activation: str, quantization: Quantization, dtype: str = "int8"
) -> tuple[int, int]:
    """The clamp of a fused activation (CalculateActivationRangeQuantized)."""
    scale, zero_point = quantization.scale0, quantization.zero_point0

    def quantized(value: float) -> int:
        # TFLite divides in float32 and rounds halves away from zero.
        ratio = float(np.float32(value) / np.float32(scale))
        return zero_point + int(math.copysign(math.floor(abs(ratio) + 0.5), ratio))

    low, high = code_range(dtype)
    if activation in ("relu", "relu6"):
        low = max(low, quantized(0.0))
    if activation == "relu6":
        high = min(high, quantized(6.0))
    if activation == "relu_n1_to_1":
        low, high = max(low, quantized(-1.0)), min(high, quantized(1.0))
    return low, high


def requantize(
    acc: Array,
    multiplier: Array,
    shift: Array,
    zero_point: int,
    low: int,
    high: int,
    dtype: str = "int8",
) -> Array:
    """int32 accumulators to outputs; multiplier and shift per channel (last axis) or one."""
    scaled = multiply_by_quantized_multiplier(acc, multiplier, shift)
    return np.clip(scaled + zero_point, low, high).astype(np.dtype(dtype))


def exact(x: Array) -> Array:
    """Integers as float64, in which BLAS adds and multiplies them exactly below 2^53."""
    return x.astype(np.float64)
