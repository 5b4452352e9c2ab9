"""A rule for random models: a few layers of int16 activations inside an int8 model."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.support import random_models as basic
from tests.support.int16_models import RULES, WIDE, Int16Graph, fits
from tests.support.random_models import Current, Draw
from tests.support.tflite_writer import Graph


def int16_layers(draw: Draw, now: Current) -> None:
    """QUANTIZE to int16, one or two operators there, and back to int8."""
    wide = Int16Graph(now.graph.tensors, now.graph.operators, random=now.random)
    scale = float(np.float32(now.scale / 256))
    x = wide.tensor(now.shape, scale)
    wide.operator("QUANTIZE", [now.tensor], x)
    inner = Current(wide, x, now.shape, scale, 0, now.random)
    for _ in range(draw(st.integers(1, 2))):
        rules = [rule for rule in RULES if fits(rule, inner)]
        rule = draw(st.sampled_from(rules))
        wide.bias = "int64" if rule in WIDE else draw(st.sampled_from(["int64", "int32"]))
        rule(draw, inner)
        inner.zero_point = 0
    scale, zero = float(np.float32(inner.scale * 256)), draw(basic.ZERO_POINTS)
    y = Graph.tensor(now.graph, inner.shape, scale, zero)
    now.graph.operator("QUANTIZE", [inner.tensor], y)
    basic._move(now, y, inner.shape, scale, zero)
