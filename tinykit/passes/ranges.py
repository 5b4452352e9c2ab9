"""Between which codes each element of each tensor lies, whatever the model's input is.

Interval arithmetic with the operators' own NumPy references, so that the bounds hold to the bit:
rounding, clamps, padding and the wrap of int32 sums included.
"""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Graph, Op, Tensor
from tinykit.ops import conv2d, depthwise_conv2d, fully_connected
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import activation_range, exact, requantize
from tinykit.ops.registry import operator
from tinykit.passes.tables import LOWEST, table_of

Bounds = tuple[Array, Array]  # least and largest codes, of the tensor's shape


def ranges(graph: Graph, alive: frozenset[str] = frozenset()) -> dict[str, Bounds]:
    """Bounds of every tensor that is not `alive`: that no training changes."""
    found = {name: _anything(graph[name]) for name in graph.inputs}
    found.update((n, (t.value, t.value)) for n, t in graph.tensors.items() if t.constant)
    for op in graph.ops:
        if not alive.intersection(op.outputs):
            found.update(zip(op.outputs, _outputs(graph, op, found), strict=True))
    return found


def _outputs(graph: Graph, op: Op, found: dict[str, Bounds]) -> list[Bounds]:
    rule = operator(op.kind)
    if op.kind in ("conv2d", "depthwise_conv2d", "fully_connected"):
        return [_layer(graph, op, found[op.inputs[0]])]
    if rule.pointwise and graph[op.inputs[0]].dtype == "int8":
        return [_looked_up(table_of(graph, (op,)), *found[op.inputs[0]])]
    if rule.monotone(graph, op):
        ends = [
            rule.evaluate(op, Run(graph, {name: found[name][end] for name in op.reads}))
            for end in (0, 1)
        ]
        return list(zip(*ends, strict=True))
    return [_anything(graph[name]) for name in op.outputs]


def _anything(tensor: Tensor) -> Bounds:
    dtype = np.dtype(tensor.dtype)
    info = np.iinfo(dtype)
    return np.full(tensor.shape, info.min, dtype), np.full(tensor.shape, info.max, dtype)


def _looked_up(table: Array, low: Array, high: Array) -> Bounds:
    """The least and the largest entry between two codes, for each pair of bounds."""
    first, last = (bound.astype(np.int64) - LOWEST for bound in (low, high))
    least, most = np.zeros((256, 256), table.dtype), np.zeros((256, 256), table.dtype)
    for i in range(256):
        least[i, i:] = np.minimum.accumulate(table[i:])
        most[i, i:] = np.maximum.accumulate(table[i:])
    return least[first, last], most[first, last]


def layer_sums(graph: Graph, op: Op, x: Array, weights: Array) -> Array:
    """x - zero_point times weights, without bias: int64, of the output's shape."""
    x = x.astype(np.int64) - graph[op.inputs[0]].quant.zero_point0
    if op.kind == "fully_connected":
        flat: Array = exact(x).reshape(-1, x.shape[-1]) @ exact(weights).T
        return flat.astype(np.int64).reshape(*x.shape[:-1], -1)
    window = conv2d.window_of(graph, op)
    if op.kind == "conv2d":
        return conv2d.accumulators(x[0], weights, None, window)[None]
    return depthwise_conv2d.accumulators(x[0], weights, None, window)[None]


def _layer(graph: Graph, op: Op, x: Bounds) -> Bounds:
    """A layer with weights: its largest sums have large inputs where weights are positive."""
    weights, y = graph[op.inputs[1]].value, graph[op.outputs[0]]
    if len(op.inputs) > 3:  # in two blocks: it learns
        return _anything(y)
    rising, falling = np.maximum(weights, 0), np.minimum(weights, 0)
    low, high = (
        layer_sums(graph, op, x[end], rising) + layer_sums(graph, op, x[1 - end], falling)
        for end in (0, 1)
    )
    bias = graph[op.inputs[2]].value.astype(np.int64) if op.inputs[2] else np.int64(0)
    rule = {"conv2d": conv2d, "depthwise_conv2d": depthwise_conv2d}.get(op.kind, fully_connected)
    multiplier, shift = rule.output_multipliers(graph, op)
    limits = activation_range(getattr(op.attributes, "activation", "none"), y.quant)
    return _requantized((low + bias, high + bias), multiplier, shift, y.quant.zero_point0, limits)


def _requantized(
    sums: Bounds, multiplier: Array, shift: Array, zero_point: int, limits: tuple[int, int]
) -> Bounds:
    """Bounds of outputs from those of sums, which wrap to int32, and so may their left shift."""
    turns = [(total + 2**31) >> 32 for total in sums]
    low, high = (total - (turn << 32) for total, turn in zip(sums, turns, strict=True))
    left = np.maximum(shift.astype(np.int64), 0)
    within = (low << left >= -(2**31)) & (high << left < 2**31) & (turns[0] == turns[1])
    ends = [requantize(total, multiplier, shift, zero_point, *limits) for total in (low, high)]
    least, most = (np.int8(limit) for limit in limits)
    return np.where(within, ends[0], least), np.where(within, ends[1], most)
