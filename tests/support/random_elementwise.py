"""Rules for random models (tests/support/random_models.py): functions of one code, and of two."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.support.random_models import ZERO_POINTS, Current, Draw, _make, _move, scales


def _unary(
    draw: Draw,
    now: Current,
    builtin: str,
    quant: tuple[float, int] | None = None,
    options: dict[str, float | int] | None = None,
) -> None:
    ratio = draw(scales(0.05, 20.0))
    scale, zero = quant or (float(np.float32(now.scale * ratio)), draw(ZERO_POINTS))
    y = _make(draw, now, now.shape, scale, zero)
    now.graph.operator(builtin, [now.tensor], y, options)
    _move(now, y, now.shape, scale, zero)


def logistic(draw: Draw, now: Current) -> None:
    _unary(draw, now, "LOGISTIC", (1 / 256, -128))


def tanh(draw: Draw, now: Current) -> None:
    _unary(draw, now, "TANH", (1 / 128, 0))


def log_softmax(draw: Draw, now: Current) -> None:
    if now.scale > 30 or now.shape[-1] > 500:  # no logits are like that: refused, or TFLM aborts
        absolute(draw, now)
        return
    _unary(draw, now, "LOG_SOFTMAX", (16 / 256, 127), {})


def l2_normalization(draw: Draw, now: Current) -> None:
    _unary(draw, now, "L2_NORMALIZATION", (1 / 128, 0), {})


def leaky_relu(draw: Draw, now: Current) -> None:
    alpha = float(np.float32(draw(st.sampled_from([0.1, 0.3, 1.5, -0.25]))))
    _unary(draw, now, "LEAKY_RELU", None, {"Alpha": alpha})


def _pair(draw: Draw, now: Current, builtin: str) -> None:
    """With a constant of the same shape."""
    same = builtin in ("MINIMUM", "MAXIMUM")
    scale = now.scale if same else float(np.float32(now.scale * draw(scales(0.05, 20.0))))
    zero = now.zero_point if same else draw(ZERO_POINTS)
    values = now.random.integers(-128, 128, now.shape).astype(np.int8)
    other = now.graph.constant(values, (scale,), (zero,))
    usual = now.scale * scale * 64 if builtin == "MUL" else max(now.scale, scale)
    y_scale = now.scale if same else float(np.float32(usual * draw(scales(0.5, 4.0))))
    y_zero = now.zero_point if same else draw(ZERO_POINTS)
    y = _make(draw, now, now.shape, y_scale, y_zero)
    now.graph.operator(builtin, [now.tensor, other], y, {}, version=2)
    _move(now, y, now.shape, y_scale, y_zero)


def mul(draw: Draw, now: Current) -> None:
    _pair(draw, now, "MUL")


def sub(draw: Draw, now: Current) -> None:
    _pair(draw, now, "SUB")


def minimum(draw: Draw, now: Current) -> None:
    _pair(draw, now, "MINIMUM")


def maximum(draw: Draw, now: Current) -> None:
    _pair(draw, now, "MAXIMUM")


def squared_difference(draw: Draw, now: Current) -> None:
    _pair(draw, now, "SQUARED_DIFFERENCE")


def absolute(draw: Draw, now: Current) -> None:
    _unary(draw, now, "ABS")


def elu(draw: Draw, now: Current) -> None:
    _unary(draw, now, "ELU")


def hard_swish(draw: Draw, now: Current) -> None:
    if now.scale > 300:  # no activation is that large: refused
        absolute(draw, now)
        return
    _unary(draw, now, "HARD_SWISH", (float(np.float32(now.scale * draw(scales(0.02, 50.0)))), -3))


def _reduction(draw: Draw, now: Current, builtin: str, same: bool) -> None:
    if len(now.shape) < 2:
        absolute(draw, now)
        return
    axis = draw(st.integers(1, len(now.shape) - 1))
    scale = now.scale if same else float(np.float32(now.scale * draw(scales(0.5, 20.0))))
    zero = now.zero_point if same else draw(ZERO_POINTS)
    shape = tuple(1 if i == axis else n for i, n in enumerate(now.shape))
    indices = now.graph.constant(np.array([axis], np.int32))
    y = _make(draw, now, shape, scale, zero)
    now.graph.operator(builtin, [now.tensor, indices], y, {"KeepDims": True}, version=2)
    _move(now, y, shape, scale, zero)


def total(draw: Draw, now: Current) -> None:
    _reduction(draw, now, "SUM", same=False)


def reduce_max(draw: Draw, now: Current) -> None:
    _reduction(draw, now, "REDUCE_MAX", same=True)


def prelu(draw: Draw, now: Current) -> None:
    values = now.random.integers(-128, 128, now.shape).astype(np.int8)
    alpha = now.graph.constant(values, (draw(scales(1e-3, 0.1)),), (draw(ZERO_POINTS),))
    scale, zero = float(np.float32(now.scale * draw(scales(0.5, 20.0)))), draw(ZERO_POINTS)
    y = _make(draw, now, now.shape, scale, zero)
    now.graph.operator("PRELU", [now.tensor, alpha], y)
    _move(now, y, now.shape, scale, zero)
