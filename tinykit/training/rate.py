"""The learning rate of each step, in float32 as firmware/lib/tinykit/src/trainer.c computes it."""

from __future__ import annotations

import numpy as np

from tinykit.training.plan import Optimizer

F = np.float32
MOST_DROPS = 64  # of schedule "step"
SINE_TERMS = (F(0.07177027), F(-0.64210705), F(1.57033678))


def learning_rate(optimizer: Optimizer, step: int) -> float:
    """Rate of step number `step` (from 0)."""
    rate = F(optimizer.learning_rate)
    if optimizer.schedule == "step":
        for _ in range(min(step // optimizer.step_size, MOST_DROPS)):
            rate = F(rate * F(optimizer.step_factor))
    elif optimizer.schedule != "constant" and optimizer.total_steps > 0:
        done = F(min(step, optimizer.total_steps)) / F(optimizer.total_steps)
        left = F(F(1.0) - done)
        if optimizer.schedule == "cosine":
            left = smooth(left)
        rate = F(rate * left)
    if step < optimizer.warmup_steps:
        rate = F(rate * (F(step + 1) / F(optimizer.warmup_steps)))
    return float(rate)


def smooth(left: np.float32) -> np.float32:
    """(1 - cos(pi * left)) / 2 within 3e-4 for 0 <= left <= 1: sin(pi/2 * left) squared."""
    square = F(left * left)
    p = F(SINE_TERMS[0] * square + SINE_TERMS[1])
    p = F(p * square + SINE_TERMS[2])
    sine = F(left * p)
    return F(sine * sine)
