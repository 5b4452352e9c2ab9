"""What all parameter updates share: SGD in the real domain on two integer planes.

A trained tensor is `used` (int8 weights or int32 biases) and a residual, in units of 1/256:
master = 256 * used + residual.  An update op reads the gradient of its layer's output, sums the
parameter's gradient in integers, multiplies it by the step's rate and a constant per channel,
rounds, and subtracts it from the master.  There is no gradient buffer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tinykit.ir import Array, Attributes, Op
from tinykit.ops.base import Address, Field, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import (
    BIAS_LIMIT,
    FRACTION,
    WEIGHT_LIMIT,
    hash_base,
    hash_numbers,
    roll,
    scaled_delta,
)
from tinykit.ops.layer_scales import LayerScales

Rounding = Literal["nearest", "stochastic"]


@dataclass(frozen=True)
class UpdateRule(Attributes):
    """How a parameter is updated.

    tensor:     its number, and seed: for the random numbers of stochastic rounding
    rounding:   of each update to residual units (or to whole steps without a residual)
    accumulate: samples whose updates stay in the residual before the plane in use follows
    """

    tensor: int = 0
    seed: int = 0
    rounding: Rounding = "stochastic"
    accumulate: int = 1


@dataclass(frozen=True, kw_only=True)
class UpdateAttributes(Attributes):
    """Base of the update operators' attributes."""

    rule: UpdateRule = field(default_factory=UpdateRule)
    scales: LayerScales


def fold_shift(pixels: int) -> int:
    """Right shift that brings a sum over `pixels` products into an int32."""
    return max(0, (pixels * 32768 * 255).bit_length() - 31)


def residual_of(op: Op) -> str:
    """The residual's name, or "" for int8 weights updated in place."""
    return op.updates[1] if len(op.updates) > 1 else ""


def units(op: Op) -> int:
    """Update units in one integer step of the plane in use."""
    return FRACTION if residual_of(op) else 1


def apply_update(
    op: Op, run: Run, acc: Array, constant: float, attributes: UpdateAttributes, axis: int = 0
) -> tuple[Array, ...]:
    """New values of op.updates.

    acc: int32-range sums, of the parameter's shape
    constant: update units per unit of acc at rate 1, times the layer's multiplier M; channels
    lie along `axis`
    """
    rule, constants = attributes.rule, attributes.scales.rates(constant)
    used = run[op.updates[0]]
    limit = WEIGHT_LIMIT if used.dtype == np.int8 else BIAS_LIMIT
    noise = None
    if rule.rounding == "stochastic":
        base = hash_base(rule.seed, run.step.index, rule.tensor)
        noise = hash_numbers(base, used.size).reshape(used.shape)
    delta = np.empty(used.shape, np.int64)
    for c in range(used.shape[axis]):
        at = (slice(None),) * axis + (c,)
        rate = np.float32(run.step.rate) * constants[c if len(constants) > 1 else 0]
        delta[at] = scaled_delta(acc[at], float(rate), None if noise is None else noise[at])

    if not residual_of(op):
        return (np.clip(used - delta, -limit, limit).astype(used.dtype),)
    residual = run[op.updates[1]].astype(np.int64) - delta
    dtype = run[op.updates[1]].dtype
    if rule.accumulate > 1:
        info = np.iinfo(dtype)
        return used, np.clip(residual, info.min, info.max).astype(dtype)
    new_used, new_residual = roll(used, residual, limit)
    return new_used.astype(used.dtype), new_residual.astype(dtype)


def update_struct(op: Op, constant: float, attributes: UpdateAttributes) -> Struct:
    """The C side's tk_update."""
    residual, rule = residual_of(op), attributes.rule
    fields: dict[str, Field] = {
        **attributes.scales.fields(),
        "used": Address(op.updates[0]),
        "residual": Address(residual) if residual else None,
        "constant": constant,
        "seed": rule.seed,
        "tensor": rule.tensor,
        "stochastic": int(rule.rounding == "stochastic"),
        "accumulate": int(rule.accumulate > 1),
    }
    return Struct("tk_update", fields)
