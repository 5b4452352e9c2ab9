"""The integer arithmetic of training, shared by the gradient and update operators.

docs/training.md derives it.  Gradients are int16 with a static power-of-two scale; parameters
are two planes, master = 256 * used + residual.
"""

from __future__ import annotations

import math

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Quantization
from tinykit.ops.evaluate import Run, Step

FRACTION = 256  # residual units in one step of the plane in use
WIDE_FRACTION = 2**24  # likewise, of weights with 32-bit masters
WEIGHT_LIMIT = 127  # |weight| <= 127, as TFLite's symmetric int8
PLANES_MAX = 10240  # bytes of scratch that a kernel may take for planes
BIAS_LIMIT = 2**29  # leaves room for the sum of products below 2^30
DELTA_LIMIT = 2**30  # largest change of a master in one step, in residual units


def gradient_scale(exponent: int) -> Quantization:
    """int16 block floating point: real = integer * 2**exponent."""
    return Quantization.per_tensor(math.ldexp(1.0, exponent))


def shift_round(acc: Array, shift: int) -> Array:
    """round(acc / 2^shift), halves upwards; a negative shift multiplies. int64."""
    acc = acc.astype(np.int64)
    if shift <= 0:
        return acc << -shift
    return (acc + (np.int64(1) << (shift - 1))) >> shift


def to_gradient(acc: Array, shift: int, step: Step) -> Array:
    """Accumulators to int16, counting what saturates."""
    rounded = shift_round(acc, shift)
    clamped = np.clip(rounded, -32768, 32767)
    step.saturations += int(np.count_nonzero(clamped != rounded))
    return clamped.astype(np.int16)


def gradient_shift(name: str, exponent: int, acc_exponent: int) -> int:
    """Right shift from accumulators in units of 2**acc_exponent to gradients in 2**exponent."""
    shift = min(exponent - acc_exponent, 62)
    if shift < -16:
        raise PlanError(
            f"{name}: sums with exponent {acc_exponent} do not fit gradients with {exponent}",
            "calibrate with more samples",
        )
    return shift


def gradient_result(run: Run, acc: Array, shift: int, shape: tuple[int, ...]) -> Array:
    """The output of a gradient op from integer-valued accumulators; real ones stay as they are."""
    if run.real:
        return acc.reshape(shape)
    return to_gradient(np.rint(acc), shift, run.step).reshape(shape)


def float_parts(value: float) -> tuple[int, int]:
    """(m, s) with value = m * 2**-s for a positive float32; m < 2^24, 1 <= s <= 62.

    Values below 2^-39 become 0, values from 2^23 on saturate.
    """
    bits = int(np.float32(value).view(np.uint32))
    exponent = (bits >> 23) & 255
    shift = 150 - exponent
    if exponent == 0 or shift > 62:
        return 0, 1
    mantissa = (bits & 0x7FFFFF) | 0x800000
    return (mantissa, shift) if shift >= 1 else (0xFFFFFF, 1)


def hash_base(seed: int, step: int, tensor: int) -> int:
    """Where the random numbers of one tensor in one step begin."""
    return (seed * 0xB5297A4D + step * 0x85EBCA77 + tensor * 0xC2B2AE3D + 0x27D4EB2F) & 0xFFFFFFFF


def hash_numbers(base: int, count: int) -> Array:
    """uint32 random numbers 0 … count-1: a hash of base + index * odd."""
    return mixed((base + np.arange(count, dtype=np.uint64) * 0x9E3779B1) & 0xFFFFFFFF)


def mixed(x: Array) -> Array:
    """murmur3's finalizer, of uint32 numbers in uint64."""
    x = x ^ (x >> np.uint64(16))
    x = (x * 0x85EBCA6B) & 0xFFFFFFFF
    x = x ^ (x >> np.uint64(13))
    x = (x * 0xC2B2AE35) & 0xFFFFFFFF
    return np.asarray(x ^ (x >> np.uint64(16)), np.uint64)


def scaled_delta(acc: Array, rate: float, noise: Array | None) -> Array:
    """round(acc * rate) as the device does it: int32 acc, float32 rate, 64-bit product.

    noise: uint32 random numbers for stochastic rounding; None rounds to nearest.
    """
    mantissa, shift = float_parts(rate)
    product = acc.astype(np.int64) * mantissa
    if noise is None:
        add = np.full(acc.shape, np.int64(1) << (shift - 1))
    elif shift <= 32:
        add = (noise >> np.uint64(32 - shift)).astype(np.int64)
    else:
        add = noise.astype(np.int64) << (shift - 32)
    return np.asarray(np.clip((product + add) >> shift, -DELTA_LIMIT, DELTA_LIMIT))


def roll(used: Array, residual: Array, limit: int, fraction: int = FRACTION) -> tuple[Array, Array]:
    """Bring the plane in use up to its master: (used, residual), |residual| <= fraction / 2."""
    master = used.astype(np.int64) * fraction + residual
    master = np.clip(master, -limit * fraction, limit * fraction)
    new = (master + fraction // 2) // fraction
    return new, master - new * fraction
