"""Scores to int8 outputs, such that the largest output belongs to the best score.

Rounding to int8 makes equals of scores that are close; the best one's code is therefore kept above
all others' (by one, if need be).  A single score is only rescaled.
"""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Tensor
from tinykit.ops.base import Struct
from tinykit.ops.fixed_point import quantize_multiplier, requantize

WORD = 4  # bytes of a score


def score_codes(scores: Array, scale: float, y: Tensor) -> Array:
    """int32 scores [C] of that scale as the int8 output `y` has them."""
    multiplier, shift = quantize_multiplier(scale / y.quant.scale0)
    plain = requantize(
        scores, np.array(multiplier), np.array(shift), y.quant.zero_point0, -128, 127
    ).astype(np.int64)
    best = scores.max()
    top = max(int(plain.max()), -127 if len(scores) > 1 else -128)
    codes = np.where(scores == best, top, np.minimum(plain, top - 1))
    return codes.astype(np.int8).reshape(y.shape)


def scores_struct(scale: float, y: Tensor) -> Struct:
    """tk_scores: from scores of that scale to the output `y`."""
    multiplier, shift = quantize_multiplier(scale / y.quant.scale0)
    return Struct(
        "tk_scores",
        {
            "multiplier": multiplier,
            "count": y.size,
            "zero_point": y.quant.zero_point0,
            "shift": shift,
        },
    )
