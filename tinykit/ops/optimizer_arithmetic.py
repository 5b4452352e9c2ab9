"""The integer arithmetic of optimizers beyond plain SGD.

docs/training.md derives it.  A state is int16 in units of 2**exponent, real gradients; inside a
step it has 15 more bits (STATE_ONE), and is rounded at random when it is stored, so that what is
smaller than a unit counts on average and nothing gets stuck.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array
from tinykit.ops.evaluate import Step
from tinykit.ops.float_arithmetic import exp32, log32
from tinykit.ops.gradient_arithmetic import DELTA_LIMIT, mixed, scaled_delta

F = np.float32
STATE_ONE = 2**15
STATE_LIMIT = 32767
RATIO_ONE = 2**16  # Adam's m / (r + epsilon) is in units of 1 / RATIO_ONE
RATIO_LIMIT = 2**22
STATE_HEADROOM = 2  # bits above what the calibration samples can reach


def state_exponent(peak: float, momentum: float) -> int:
    """The exponent of a state for real gradients up to `peak` in every step, with headroom."""
    reach = peak / (1.0 - momentum)
    return math.frexp(reach)[1] - 15 + STATE_HEADROOM


def momentum_factor(momentum: float) -> int:
    """The momentum in units of 1 / STATE_ONE."""
    return min(round(momentum * STATE_ONE), STATE_LIMIT)


def more_noise(noise: Array) -> Array:
    """A second random number for each first one."""
    return mixed((noise + np.uint64(0x9E3779B1)) & np.uint64(0xFFFFFFFF))


def rotated(noise: Array) -> Array:
    """The random numbers with their halves exchanged."""
    return ((noise << np.uint64(16)) | (noise >> np.uint64(16))) & np.uint64(0xFFFFFFFF)


def to_state(total: Array, noise: Array) -> tuple[Array, Array]:
    """Totals in units of 1 / STATE_ONE to int16 by 15 bits of noise: (stored, saturated)."""
    rounded = (total + (noise & np.uint64(STATE_ONE - 1)).astype(np.int64)) >> 15
    stored = np.clip(rounded, -STATE_LIMIT, STATE_LIMIT)
    return stored.astype(np.int16), stored != rounded


def momentum_step(
    acc: Array, state: Array, to_units: float, factor: int, noise: Array, step: Step
) -> tuple[Array, Array]:
    """(what moves the master, in units of 1 / STATE_ONE; the new state).

    The first sample of an accumulation lets the state fade and moves the master by all of it; the
    others add their gradient to both.
    """
    gradient = scaled_delta(acc, to_units, None)
    total = state.astype(np.int64) * (factor if step.first else STATE_ONE) + gradient
    stored, saturated = to_state(total, more_noise(noise))
    _count(saturated | (np.abs(gradient) == DELTA_LIMIT), step)
    return (total if step.first else gradient), stored


def _count(saturated: Array, step: Step) -> None:
    held = int(np.count_nonzero(saturated))
    step.saturations += held
    step.held += held


def decayed(master: Array, shrink: float, noise: Array) -> Array:
    """What decay takes from masters, rounded at random."""
    return scaled_delta(master, shrink, rotated(noise))


def clip_factor(acc: Array, clip: float, normalisation: float) -> np.float32:
    """What makes the norm of acc * normalisation at most `clip`: 1 or less.

    The sum of squares is exact, in two 64-bit sums of the products' halves, as the device has it.
    """
    squares = acc.astype(np.int64) ** 2
    low, high = int((squares & 0xFFFFFFFF).sum()), int((squares >> 32).sum())
    if normalisation == 0 or low + high == 0:
        return F(1.0)
    total = F(float_of(high) * F(2.0**32) + float_of(low))
    x = F(F(log32(F(clip)) - log32(F(normalisation))) - F(F(0.5) * log32(total)))
    return exp32(x) if x < 0 else F(1.0)


def float_of(x: int) -> np.float32:
    """A uint64 as float32, from its halves."""
    return F(F(np.uint32(x >> 32)) * F(2.0**32) + F(np.uint32(x & 0xFFFFFFFF)))


@dataclass(frozen=True)
class Adam:
    """The constants of Adam, as in the plan's optimizer."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    def floor(self, exponent: int) -> int:
        """epsilon in units of 1 / STATE_ONE of the state; at least one unit of the state."""
        scaled = min(self.epsilon * STATE_ONE * 2.0**-exponent, 2.0**30)
        return max(round(scaled), STATE_ONE)


def average_weight(beta: float, updates: int) -> int:
    """(1 - beta) / (1 - beta^t) in units of 2^-24, in float32: how much of an unbiased mean the
    t-th value is."""
    power, base, t = F(1.0), F(beta), updates
    while t > 0:
        if t & 1:
            power = F(power * base)
        base = F(base * base)
        t >>= 1
    share = F(F(F(1.0) - F(beta)) / F(F(1.0) - power))
    return int(F(F(share * F(2.0**24)) + F(0.5)))


def bit_length(x: Array) -> Array:
    """Of integers of 0 … 2^62."""
    high = np.frexp((x >> 31).astype(np.float64))[1]
    low = np.frexp((x & (2**31 - 1)).astype(np.float64))[1]
    return np.where(high > 0, high + 31, low).astype(np.int64)


def rounded_root(x: Array) -> Array:
    """sqrt(x) for 0 <= x < 2^62 to 16 significant bits, to nearest."""
    shift = np.maximum(bit_length(x) - 32, 0)
    shift += shift & 1
    top = x >> shift
    root = np.floor(np.sqrt(top.astype(np.float64))).astype(np.int64)
    root += top - root * root > root
    return np.asarray(root << (shift >> 1))


def ratio(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator in units of 1 / RATIO_ONE, to 14 significant bits.

    |numerator| <= 2^30; 2^15 <= denominator <= 2^31.
    """
    size = np.abs(numerator)
    up = 31 - bit_length(size)
    down = bit_length(denominator) - 16
    divisor = (denominator + ((np.int64(1) << down) >> 1)) >> down
    quotient = (size << up) // divisor
    shift = up + down - 16
    right, left = np.maximum(shift, 0), np.maximum(-shift, 0)
    result = (quotient + ((np.int64(1) << right) >> 1)) >> right
    result = np.minimum(result, RATIO_LIMIT >> left) << left
    return np.where(numerator < 0, -result, result)


def adam_step(
    acc: Array,
    mean: Array,
    deviation: Array,
    to_units: float,
    adam: Adam,
    exponent: int,
    noise: Array,
    step: Step,
) -> tuple[Array, Array, Array]:
    """(what moves the master, in units of 1 / RATIO_ONE; the new mean and root mean square).

    The states are Adam's moments with their bias corrected: means of the gradients so far.
    """
    gradient = scaled_delta(acc, to_units, None)
    first, second = (average_weight(b, step.updates + 1) for b in (adam.beta_1, adam.beta_2))
    old = mean.astype(np.int64) << 15
    new_mean = old + (((gradient - old) * first + 2**23) >> 24)
    coarse, root = (gradient + 2**10) >> 11, deviation.astype(np.int64)
    change = (coarse * coarse - (root * root << 8)) * second
    new_root = rounded_root((root * root << 30) + ((change + 2) >> 2))
    more = more_noise(noise)
    stored_mean, lost = to_state(new_mean, more)
    stored_root, lost_too = to_state(new_root, more >> np.uint64(16))
    _count(lost | lost_too | (np.abs(gradient) == DELTA_LIMIT), step)
    return ratio(new_mean, new_root + adam.floor(exponent)), stored_mean, stored_root
