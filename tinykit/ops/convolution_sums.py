"""What is known beforehand of a convolution's sums of products: their biases and their size."""

from __future__ import annotations

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.gradient_arithmetic import BIAS_LIMIT, WEIGHT_LIMIT

# TK_SUMS_… of the runtime's kernels.h
ANY, WIDE, NARROW = 0, 1, 2
NARROW_LIMIT = 2**30


def weight_blocks(op: Op) -> tuple[str, ...]:
    """The names of a layer's weights: one block, or the trained one and the rest."""
    return tuple(name for name in (op.inputs[1], *op.inputs[3:4]) if name)


def folded_bias(graph: Graph, op: Op) -> Array | None:
    """int32 bias - zero_point * sum of the channel's weights (axis 0), as int32 arithmetic wraps.

    None where weights or biases learn: then the kernel subtracts the zero point.
    """
    names = [name for name in (*weight_blocks(op), op.inputs[2]) if name]
    if not all(graph[name].constant for name in names):
        return None
    zero_point = graph[op.inputs[0]].quant.zero_point0
    total = sum(
        graph[name].value.astype(np.int64).reshape(graph[name].shape[0], -1).sum(axis=1)
        for name in weight_blocks(op)
    )
    folded = bias_values(graph, op, graph[op.outputs[0]].shape[-1]) - zero_point * total
    wrapped: Array = (folded & 0xFFFFFFFF).astype(np.uint32).astype(np.int32)
    return wrapped


def bias_values(graph: Graph, op: Op, channels: int) -> Array:
    """int64 [channels], zeros where the layer has none."""
    if not op.inputs[2]:
        return np.zeros(channels, np.int64)
    return graph[op.inputs[2]].value.astype(np.int64)


def sums_class(graph: Graph, op: Op, shifts: Array, axis: int) -> int:
    """ANY, WIDE or NARROW: the arithmetic that the layer's requantization needs.

    axis: of the weights' output channels.  Weights and biases that learn count with their limits.
    """
    if shifts.max() >= 0:
        return ANY
    zero_point = graph[op.inputs[0]].quant.zero_point0
    largest = max(127 - zero_point, zero_point + 128)
    if axis == 0:
        sums = sum(_magnitudes(graph, name, 0) for name in weight_blocks(op))
    else:  # blocks of different channels
        sums = np.concatenate([_magnitudes(graph, name, axis) for name in weight_blocks(op)])
    bias = np.abs(bias_values(graph, op, graph[op.outputs[0]].shape[-1]))
    if op.inputs[2] and not graph[op.inputs[2]].constant:
        bias = np.maximum(bias, BIAS_LIMIT)
    return NARROW if int((sums * largest + bias).max()) < NARROW_LIMIT else WIDE


def neighbours_fit(graph: Graph, op: Op) -> bool:
    """Whether the products of positions 2i and 2i + 1 with int8 inputs together fit in int16."""
    for name in weight_blocks(op):
        weights = np.abs(graph[name].value.astype(np.int64)).reshape(graph[name].shape[0], -1)
        even, odd = weights[:, ::2], weights[:, 1::2]
        if (even[:, : odd.shape[1]] + odd).max(initial=0) > 255:
            return False
    return True


def _magnitudes(graph: Graph, name: str, axis: int) -> Array:
    """Sum of |weights| of each channel, at most."""
    tensor = graph[name]
    others = tuple(i for i in range(len(tensor.shape)) if i != axis)
    if tensor.constant:
        return np.asarray(np.abs(tensor.value.astype(np.int64)).sum(axis=others))
    positions = tensor.size // tensor.shape[axis]
    return np.full(tensor.shape[axis], positions * WEIGHT_LIMIT, np.int64)
