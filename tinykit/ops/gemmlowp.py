"""gemmlowp's fixed-point functions in NumPy, on which SOFTMAX, LOGISTIC, TANH … are built.

Qm.n: m integer bits, n fraction bits, m + n = 31.  All values are int64 arrays of raw integers.
"""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array
from tinykit.ops.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    doubling_high_multiply,
    rounding_shift_right,
)

# exp(-1/4), exp(-1/2), exp(-1) … exp(-16) in Q0.31
FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


def shift_left(x: Array, bits: Array | int) -> Array:
    """x * 2^bits, saturating."""
    return np.clip(x << bits, INT32_MIN, INT32_MAX)


def exp_of_negative(a: Array, integer_bits: int) -> Array:
    """exp(a) in Q0.31 for a <= 0 with 2 to 5 integer bits (exp_on_negative_values)."""
    multiply = doubling_high_multiply
    a = a.astype(np.int64)
    quarter = 1 << (29 - integer_bits)
    below = (a & (quarter - 1)) - quarter  # a modulo 1/4, minus 1/4
    # exp on [-1/4, 0) around -1/8, by its Taylor series
    x = (below << integer_bits) + (1 << 28)
    x2 = multiply(x, x)
    x3 = multiply(x2, x)
    x4_over_4 = rounding_shift_right(multiply(x2, x2), 2)
    third, exp_eighth = np.array(715827883), np.array(1895147668)
    series = rounding_shift_right(multiply(x4_over_4 + x3, third) + x2, 1)
    result = exp_eighth + multiply(exp_eighth, x + series)
    for i, factor in enumerate(FACTORS[: integer_bits + 2]):
        set_bit = ((below - a) >> (29 - integer_bits + i)) & 1
        result = np.where(set_bit != 0, multiply(result, np.array(factor)), result)
    return np.where(a == 0, INT32_MAX, result)


def newton_reciprocal(fraction: Array) -> Array:
    """2 / (1 + fraction) in Q2.29, fraction in [0, 1] in Q0.31."""
    multiply = doubling_high_multiply
    half = (fraction.astype(np.int64) + INT32_MAX + 1) >> 1  # (1 + fraction) / 2
    x = 1515870810 + multiply(half, np.array(-1010580540))
    for _ in range(3):
        error = (1 << 29) - multiply(half, x)
        x = x + shift_left(multiply(x, error), 2)
    return np.asarray(x)


def logistic(a: Array, integer_bits: int) -> Array:
    """1 / (1 + exp(-a)) in Q0.31."""
    positive = shift_left(newton_reciprocal(exp_of_negative(-np.abs(a), integer_bits)), 1)
    return np.where(a == 0, 1 << 30, np.where(a > 0, positive, INT32_MAX - positive))


def tanh(a: Array, integer_bits: int) -> Array:
    """tanh(a) in Q0.31."""
    exponential = exp_of_negative(-np.abs(a), integer_bits + 1)  # of 2a: one integer bit more
    positive = shift_left(newton_reciprocal(exponential) - (1 << 29), 2)
    return np.where(a == 0, 0, np.where(a > 0, positive, -positive))


def inverse_square_root(value: int) -> tuple[int, int]:
    """(multiplier, right shift) of 1 / sqrt(value), a positive integer.

    Follows GetInvSqrtQuantizedMultiplierExp: five Newton steps in Q3.28.
    """
    if value <= 1:
        return INT32_MAX, 0
    shift = 11
    while value >= 1 << 29:
        value //= 4
        shift += 1
    pairs = (32 - value.bit_length() - 1) // 2 - 1
    shift -= pairs
    value <<= 2 * pairs
    multiply = doubling_high_multiply
    half_value = rounding_shift_right(np.array(value >> 1), 1)
    half_three = np.array((1 << 28) + (1 << 27))
    x = np.array(1 << 28)
    for _ in range(5):
        cube = shift_left(multiply(multiply(x, x), x), 6)
        x = shift_left(multiply(half_three, x) - multiply(half_value, cube), 3)
    result = int(multiply(x, np.array(1518500250)))  # sqrt(1/2)
    return (result << -shift, 0) if shift < 0 else (result, shift)
