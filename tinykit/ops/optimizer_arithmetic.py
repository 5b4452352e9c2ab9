"""The integer arithmetic of optimizers that remember: momentum, weight decay.

docs/training.md derives it.  A state is int16 in units of 2**exponent, real gradients; inside a
step it has 15 more bits (STATE_ONE), and is rounded at random when it is stored, so that what is
smaller than a unit counts on average and nothing gets stuck.
"""

from __future__ import annotations

import math

import numpy as np

from tinykit.ir import Array
from tinykit.ops.evaluate import Step
from tinykit.ops.gradient_arithmetic import DELTA_LIMIT, mixed, scaled_delta

STATE_ONE = 2**15
STATE_LIMIT = 32767
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
    step.saturations += int(np.count_nonzero(saturated | (np.abs(gradient) == DELTA_LIMIT)))
    return (total if step.first else gradient), stored


def decayed(master: Array, shrink: float, noise: Array) -> Array:
    """What decay takes from masters, rounded at random."""
    return scaled_delta(master, shrink, rotated(noise))
