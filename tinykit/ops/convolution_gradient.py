"""The gradient rule that CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED share."""

from __future__ import annotations

from tinykit.ir import Attributes, Graph, Op
from tinykit.ops.activation_mask import Limits
from tinykit.ops.bias_update import BiasUpdateAttributes
from tinykit.ops.channel_scale import ChannelScaleAttributes
from tinykit.ops.conv2d_input_grad import InputGradAttributes
from tinykit.ops.conv2d_update import WeightUpdateAttributes
from tinykit.ops.convolution_scales import joined_scales
from tinykit.ops.fixed_point import activation_range
from tinykit.ops.tape import Tape
from tinykit.ops.window import Pair, Window


def activation_gradient(op: Op, tape: Tape, activation: str) -> str:
    """The gradient in front of an op's clamp: its fused activation, or the ends of int8.

    Many converters express ReLU by the output's range alone, so every clamp has its true
    gradient; only rounding is passed straight through.  Logits are the exception: one that
    saturates must still be able to learn.
    """
    gradient = tape.gradient_of(op.outputs[0])
    if op.outputs[0] == tape.logits and activation == "none":
        return gradient
    y = tape.graph[op.outputs[0]]
    limits = Limits(*activation_range(activation, y.quant))
    kept = tape.mask(op, y.name, limits)
    return tape.emit("activation_grad", op, (gradient, kept), y.shape, limits)


def map_sizes(graph: Graph, op: Op) -> tuple[Pair, Pair]:
    """(H, W) of input and output; a fully connected layer is a column of 1x1 pixels."""
    x, y = graph[op.inputs[0]], graph[op.outputs[0]]
    if op.kind == "fully_connected":
        rows = y.size // y.shape[-1]
        return (rows, 1), (rows, 1)
    return (x.shape[1], x.shape[2]), (y.shape[1], y.shape[2])


def convolution_gradient(op: Op, tape: Tape, window: Window, activation: str) -> None:
    """Mask, weight update, bias update, channel scale and input gradient of one layer."""
    graph = tape.graph
    x, weights = graph[op.inputs[0]], graph[op.inputs[1]]
    bias, rest = (op.inputs[i] if len(op.inputs) > i else "" for i in (2, 3))
    depthwise = op.kind == "depthwise_conv2d"
    gradient = activation_gradient(op, tape, activation)
    input_size, output_size = map_sizes(graph, op)

    if tape.trains(weights.name):
        tape.update(
            "depthwise_update" if depthwise else "conv2d_update",
            op,
            (gradient, x.name),
            weights.name,
            WeightUpdateAttributes(window=window, input_size=input_size, output_size=output_size),
        )
    scales = joined_scales(graph, weights.name, rest) if depthwise else weights.quant.scale
    if bias and tape.trains(bias):
        steps = tuple(x.quant.scale0 * s for s in scales)
        tape.update("bias_update", op, (gradient,), bias, BiasUpdateAttributes(scales=steps))
    if tape.wants(x.name):
        channels = graph[op.outputs[0]].shape[-1]
        scaled = tape.emit(
            "channel_scale",
            op,
            (gradient,),
            graph[op.outputs[0]].shape,
            ChannelScaleAttributes(scales if len(scales) > 1 else scales * channels),
        )
        kind = "depthwise_input_grad" if depthwise else "conv2d_input_grad"
        attributes: Attributes = InputGradAttributes(window, input_size, output_size, x.shape)
        result = tape.emit(kind, op, (scaled, weights.name, rest), x.shape, attributes)
        tape.contribute(x.name, result)
