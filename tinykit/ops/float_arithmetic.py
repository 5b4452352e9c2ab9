"""exp and log in float32, operation by operation as firmware/lib/tinykit/src/scalar.c does them.

No libm: the same additions and multiplications in the same order give the same bits on every
machine with IEEE single precision.
"""

from __future__ import annotations

import numpy as np

F = np.float32

LOG2_E = F(1.44269504)
LN2_HIGH = F(0.693359375)
LN2_LOW = F(-2.12194440e-4)
EXP_TERMS = tuple(F(c) for c in (1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0))
LOG_TERMS = tuple(F(c) for c in (1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3, 1.0))


def exp32(x: np.float32) -> np.float32:
    """e**x for x <= 0, relative error below 3e-7; 0 below -87."""
    if x < F(-87.0):
        return F(0.0)
    n = int(x * LOG2_E - F(0.5))  # towards zero: the nearest integer for x <= 0
    r = x - F(n) * LN2_HIGH
    r = r - F(n) * LN2_LOW
    p = EXP_TERMS[0]
    for term in EXP_TERMS[1:]:
        p = p * r + term
    return F(p * np.uint32((n + 127) << 23).view(np.float32))


def log32(x: np.float32) -> np.float32:
    """ln(x) for normal positive x, absolute error below 1e-6 * (1 + |ln x|)."""
    bits = int(np.float32(x).view(np.uint32))
    n = (bits >> 23) - 127
    m = np.uint32((bits & 0x7FFFFF) | 0x3F800000).view(np.float32)  # [1, 2)
    if m > F(1.41421356):
        m, n = m * F(0.5), n + 1
    t = (m - F(1.0)) / (m + F(1.0))
    s = t * t
    p = LOG_TERMS[0]
    for term in LOG_TERMS[1:]:
        p = p * s + term
    return F(F(n) * LN2_HIGH + (F(n) * LN2_LOW + F(2.0) * t * p))
