"""What all parameter updates share: an optimizer in the real domain on integer planes.

A trained tensor is `used` (int8 weights or int32 biases) and a residual, in units of 1/256:
master = 256 * used + residual.  An update op reads the gradient of its layer's output, sums the
parameter's gradient in integers, makes it a change of the master by the step's rate and a constant
per channel, rounds, and subtracts it.  There is no gradient buffer.
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
    DELTA_LIMIT,
    FRACTION,
    WEIGHT_LIMIT,
    WIDE_FRACTION,
    hash_base,
    hash_numbers,
    roll,
    scaled_delta,
)
from tinykit.ops.layer_scales import LayerScales
from tinykit.ops.optimizer_arithmetic import (
    RATIO_ONE,
    STATE_ONE,
    Adam,
    adam_step,
    clip_factor,
    decayed,
    momentum_factor,
    momentum_step,
)

Rounding = Literal["nearest", "stochastic"]
STATES = ("residual", "momentum", "deviation", "centre", "samples")
"""Last part of the names of what updates keep."""


@dataclass(frozen=True)
class UpdateRule(Attributes):
    """How a parameter is updated.

    tensor:       its number, and seed: for the random numbers of stochastic rounding
    rounding:     of each update to residual units (or to whole steps without a residual)
    accumulate:   samples whose updates stay in the residual before the plane in use follows
    momentum, weight_decay, clip_norm: as in the plan's optimizer
    wide:         the residual is in units of 2^-24, an int32
    """

    tensor: int = 0
    seed: int = 0
    rounding: Rounding = "stochastic"
    accumulate: int = 1
    momentum: float = 0.0
    weight_decay: float = 0.0
    wide: bool = False
    clip_norm: float = 0.0
    adam: Adam | None = None

    @property
    def states(self) -> tuple[str, ...]:
        """What is kept of each element beside its master, int16 each."""
        if self.adam is not None:
            return ("momentum", "deviation")
        return ("momentum",) if self.momentum > 0 else ()


@dataclass(frozen=True, kw_only=True)
class UpdateAttributes(Attributes):
    """Base of the update operators' attributes.

    state_exponent: states are in units of 2**state_exponent, real gradients
    sum_exponent: float32 gradients' sums are rounded to units of 2**sum_exponent
    """

    rule: UpdateRule = field(default_factory=UpdateRule)
    scales: LayerScales
    state_exponent: int = 0
    sum_exponent: int = 0


@dataclass(frozen=True)
class Units:
    """gradient: real gradient per unit of the accumulator, the step's normalisation aside;
    change: update units per real change, times the layer's multiplier M."""

    gradient: float
    change: float

    def constant(self, attributes: UpdateAttributes) -> float:
        """Update units per unit of what the rate multiplies, times M."""
        if attributes.rule.adam is not None:
            return self.change / RATIO_ONE
        if attributes.rule.states:
            return self.change * 2.0**attributes.state_exponent / STATE_ONE
        return self.gradient * self.change

    def state(self, attributes: UpdateAttributes) -> float:
        """State units, times STATE_ONE, per unit of the accumulator of one sample."""
        scale = STATE_ONE * 2.0**-attributes.state_exponent / attributes.rule.accumulate
        return self.gradient * scale


def fold_shift(pixels: int) -> int:
    """Right shift that brings a sum over `pixels` products into an int32."""
    return max(0, (pixels * 32768 * 255).bit_length() - 31)


def is_state(name: str) -> bool:
    """Whether a tensor stored as a parameter belongs to another, which it is named after."""
    return name.rpartition("/")[2] in STATES


def trained_name(name: str) -> str:
    """The trained tensor that a state belongs to, or the tensor itself."""
    return name.rpartition("/")[0] if is_state(name) else name


def state_of(op: Op, state: str) -> str:
    """The name of a state of the op's parameter, or "" where there is none."""
    return next((name for name in op.updates[1:] if name.endswith(f"/{state}")), "")


def residual_of(op: Op) -> str:
    """The residual's name, or "" for int8 weights updated in place."""
    return state_of(op, "residual")


def units(op: Op) -> int:
    """Update units in one integer step of the plane in use."""
    assert isinstance(op.attributes, UpdateAttributes)
    if op.attributes.rule.wide:
        return WIDE_FRACTION
    return FRACTION if residual_of(op) else 1


def is_plain(op: Op, rule: UpdateRule) -> bool:
    """Whether plain SGD does: the C has a function of its own for it."""
    decays = rule.weight_decay > 0 and "bias" not in op.kind
    return not (rule.states or decays or rule.clip_norm > 0)


def apply_update(
    op: Op, run: Run, acc: Array, unit: Units, attributes: UpdateAttributes, axis: int = 0
) -> tuple[Array, ...]:
    """New values of op.updates.

    acc: int32-range sums, of the parameter's shape; channels lie along `axis`
    """
    rule, step = attributes.rule, run.step
    used = run[op.updates[0]]
    states = {name: run[name] for name in op.updates}
    noise = hash_numbers(hash_base(rule.seed, step.index, rule.tensor), used.size)
    noise = noise.reshape(used.shape)
    clip = np.float32(1.0)
    if rule.clip_norm > 0:
        clip = clip_factor(acc, rule.clip_norm / unit.gradient, step.normalisation)
    amount, rate = acc, np.float32(step.rate) * clip
    if rule.states:
        scale = np.float32(step.normalisation) * clip
        to_state = float(np.float32(unit.state(attributes)) * scale)
        rate = np.float32(step.learning_rate)
        name, other = state_of(op, "momentum"), state_of(op, "deviation")
        if rule.adam is not None:
            amount, states[name], states[other] = adam_step(
                acc, run[name], run[other], to_state, rule.adam, attributes.state_exponent,
                noise, step,
            )  # fmt: skip
        else:
            amount, states[name] = momentum_step(
                acc, run[name], to_state, momentum_factor(rule.momentum), noise, step
            )
    constants = attributes.scales.rates(unit.constant(attributes))
    delta = np.empty(used.shape, np.int64)
    for c in range(used.shape[axis]):
        at = (slice(None),) * axis + (c,)
        channel = rate * constants[c if len(constants) > 1 else 0]
        random = noise[at] if rule.rounding == "stochastic" else None
        delta[at] = scaled_delta(amount[at], float(channel), random)
    if rule.weight_decay and used.dtype == np.int8 and step.first:
        master = used.astype(np.int64)
        if residual_of(op):
            master = master * units(op) + run[residual_of(op)]
            master = np.clip(master, -(2**31), 2**31 - 1)
        shrink = float(np.float32(step.learning_rate) * np.float32(rule.weight_decay))
        delta = np.clip(delta + decayed(master, shrink, noise), -DELTA_LIMIT, DELTA_LIMIT)
    step.updated += int(np.count_nonzero(delta))
    states.update(_moved(op, run, delta, rule))
    return tuple(states[name] for name in op.updates)


def _moved(op: Op, run: Run, delta: Array, rule: UpdateRule) -> dict[str, Array]:
    """The planes of the master after subtracting delta."""
    used, name = run[op.updates[0]], residual_of(op)
    limit = WEIGHT_LIMIT if used.dtype == np.int8 else BIAS_LIMIT
    if not name:
        return {op.updates[0]: np.clip(used - delta, -limit, limit).astype(used.dtype)}
    dtype = run[name].dtype
    residual = run[name].astype(np.int64) - delta
    if rule.accumulate > 1:
        info = np.iinfo(dtype)
        return {name: np.clip(residual, info.min, info.max).astype(dtype)}
    new_used, left = roll(used, residual, limit, units(op))
    return {op.updates[0]: new_used.astype(used.dtype), name: left.astype(dtype)}


def update_struct(
    op: Op, unit: Units, attributes: UpdateAttributes, always_state: bool = False
) -> Struct:
    """The C side's tk_update; its state is left out for plain SGD, if it may be."""
    residual, rule = residual_of(op), attributes.rule
    stateless = is_plain(op, rule) and not always_state
    fields: dict[str, Field] = {
        **attributes.scales.fields(),
        "used": Address(op.updates[0]),
        "residual": Address(residual) if residual else None,
        "state": None if stateless else _state_struct(op, unit, attributes),
        "constant": unit.constant(attributes),
        "seed": rule.seed,
        "tensor": rule.tensor,
        "stochastic": int(rule.rounding == "stochastic"),
        "accumulate": int(rule.accumulate > 1),
        "wide": int(rule.wide),
        "simple": int(bool(residual) and rule.accumulate == 1 and not rule.wide),
    }
    return Struct("tk_update", fields)


def _state_struct(op: Op, unit: Units, attributes: UpdateAttributes) -> Struct:
    rule, momentum = attributes.rule, state_of(op, "momentum")
    adam, deviation = rule.adam or Adam(), state_of(op, "deviation")
    fields: dict[str, Field] = {
        "momentum": Address(momentum) if momentum else None,
        "deviation": Address(deviation) if deviation else None,
        "gradient": unit.state(attributes) if rule.states else 0.0,
        "decay": 0.0 if "bias" in op.kind else rule.weight_decay,
        "clip": rule.clip_norm / unit.gradient,
        "beta_1": adam.beta_1,
        "beta_2": adam.beta_2,
        "epsilon": adam.floor(attributes.state_exponent),
        "factor": momentum_factor(rule.momentum),
    }
    return Struct("tk_update_state", fields)
