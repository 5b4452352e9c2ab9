"""Rules for random models with matrix products."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.support.random_models import ZERO_POINTS, Current, Draw, _make, _move, scales


def batch_matmul(draw: Draw, now: Current) -> None:
    """The input times a constant, a constant times it, or the input times itself, transposed."""
    if len(now.shape) < 2:
        shape = (1, *now.shape)
        target = now.graph.constant(np.array(shape, np.int32))
        y = _make(draw, now, shape, now.scale, now.zero_point)
        now.graph.operator("RESHAPE", [now.tensor, target], y, None)
        _move(now, y, shape, now.scale, now.zero_point)
    *outer, rows, columns = now.shape
    kind = draw(st.sampled_from(["left", "right", "gram", "outer"]))
    adj_x, adj_y = draw(st.booleans()), draw(st.booleans())
    other_scale = now.scale
    if kind in ("gram", "outer"):
        adj_x, adj_y = kind == "gram", kind == "outer"
        depth, shape = (rows, (columns,) * 2) if adj_x else (columns, (rows,) * 2)
        inputs = [now.tensor, now.tensor]
        batch = tuple(outer)
    else:
        adj = adj_x if kind == "left" else adj_y
        size = draw(st.integers(1, 9))
        known = [rows, columns] if kind == "left" else [columns, rows]
        mine, depth = reversed(known) if adj else known
        across = adj_y if kind == "left" else adj_x  # [depth, size] for the right factor
        form = (depth, size) if (kind == "left") != across else (size, depth)
        batch = draw(st.sampled_from([(), (1,) * len(outer), tuple(outer)]))
        values = now.random.integers(-128, 128, (*batch, *form)).astype(np.int8)
        other_scale = float(np.float32(draw(scales(1e-3, 1.0))))
        other = now.graph.constant(values, (other_scale,), (draw(ZERO_POINTS),))
        inputs = [now.tensor, other] if kind == "left" else [other, now.tensor]
        shape = (mine, size) if kind == "left" else (size, mine)
    usual = np.sqrt(depth) * 127 * now.scale * other_scale / 2
    factor = draw(st.sampled_from([1.0, 1.0, 0.3, 8.0, 1e-3]))
    scale, zero = float(np.float32(usual * factor)), draw(ZERO_POINTS)
    y = _make(draw, now, (*outer, *shape), scale, zero)
    options = {"AdjX": adj_x, "AdjY": adj_y}
    now.graph.operator("BATCH_MATMUL", inputs, y, options, version=2)
    _move(now, y, (*outer, *shape), scale, zero)
