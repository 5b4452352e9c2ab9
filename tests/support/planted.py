"""Random models with dead, constant and equal channels planted in their layers."""

from __future__ import annotations

import numpy as np

from tests.support.tflite_writer import Graph as File
from tests.support.tflite_writer import Tensor
from tinykit.ir import Array, Graph

INT32 = np.iinfo(np.int32)
CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}


def plant(graph: File, random: np.random.Generator) -> None:
    """Change weights and biases of a file in place, a few channels in each layer."""
    for operator in graph.operators:
        axis = CHANNEL_AXIS.get(operator.builtin)
        if axis is None or graph.tensors[operator.inputs[0]].type != "INT8":
            continue
        tensor, bias = graph.tensors[operator.inputs[1]], [*operator.inputs, -1][2]
        offset = graph.tensors[bias] if bias >= 0 else None
        x, y = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
        factor = x.scale[0] * max(tensor.scale) / y.scale[0]
        extremes = [-(2**22), 2**22] + ([INT32.min, INT32.max] if factor < 0.1 else [])
        weights = np.moveaxis(_values(tensor, np.int8), axis, 0)
        terms = None if offset is None else _values(offset, np.int32)
        for channel in range(len(weights)):
            _channel(weights, terms, tensor, channel, extremes, random)
        if operator.builtin != "DEPTHWISE_CONV_2D":
            weights[..., random.random(weights.shape[-1]) < 0.25] = 0  # that nothing reads
        tensor.data = np.moveaxis(weights, 0, axis).tobytes()
        if offset is not None and terms is not None:
            offset.data = terms.tobytes()


def _channel(
    weights: Array,
    terms: Array | None,
    tensor: Tensor,
    channel: int,
    extremes: list[int],
    random: np.random.Generator,
) -> None:
    style = random.choice(["", "", "zero", "equal", "clamped", "small"])
    other = int(random.integers(len(weights)))
    if style == "zero":
        weights[channel] = 0
    elif style == "small":  # so that sums of equal channels fit
        weights[channel] //= 4
    elif style == "equal":
        weights[channel] = weights[other]
        if terms is not None:
            terms[channel] = terms[other]
        if len(tensor.scale) > 1:
            scale = list(tensor.scale)
            scale[channel] = scale[other]
            tensor.scale = tuple(scale)
    elif style == "clamped" and terms is not None:  # saturates whatever comes, or wraps
        terms[channel] = random.choice(extremes)


def _values(tensor: Tensor, dtype: type) -> Array:
    assert tensor.data is not None
    return np.frombuffer(tensor.data, dtype).reshape(tensor.shape).copy()


def with_dead_channels(graph: Graph, random: np.random.Generator, share: float = 0.3) -> Graph:
    """The network with the weights of some output channels of each layer zero."""
    changed = []
    axes = {"conv2d": 0, "depthwise_conv2d": 3, "fully_connected": 0}
    for op in graph.of_kind(*axes):
        tensor = graph[op.inputs[1]]
        weights = np.moveaxis(tensor.value.copy(), axes[op.kind], 0)
        weights[random.random(len(weights)) < share] = 0
        back = np.moveaxis(weights, 0, axes[op.kind])
        changed.append(tensor.with_data(np.ascontiguousarray(back)))
    return graph.with_tensors(changed)
