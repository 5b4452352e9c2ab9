"""The gradient rule that CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED share."""

from __future__ import annotations

from tinykit.ir import Array, Graph, Op
from tinykit.ops.activation_mask import Limits
from tinykit.ops.conv2d_input_grad import InputGradAttributes
from tinykit.ops.convolution_scales import joined_scales
from tinykit.ops.fixed_point import activation_range
from tinykit.ops.layer_scales import LayerScales
from tinykit.ops.tape import Tape
from tinykit.ops.update import UpdateAttributes
from tinykit.ops.weight_update import WeightUpdateAttributes
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


def convolution_gradient(
    op: Op, tape: Tape, window: Window, activation: str, multipliers: tuple[Array, Array]
) -> None:
    """Mask, weight update, bias update and input gradient of one layer.

    multipliers: (multiplier, shift) of the forward pass, per output channel or one.
    """
    graph = tape.graph
    x, weights = graph[op.inputs[0]], graph[op.inputs[1]]
    bias, rest = (op.inputs[i] if len(op.inputs) > i else "" for i in (2, 3))
    depthwise = op.kind == "depthwise_conv2d"
    gradient = activation_gradient(op, tape, activation)
    input_size, output_size = map_sizes(graph, op)
    scales = LayerScales(
        x.quant.scale0,
        graph[op.outputs[0]].quant.scale0,
        tuple(multipliers[0].tolist()),
        tuple(multipliers[1].tolist()),
        joined_scales(graph, weights.name, rest) if depthwise else weights.quant.scale,
    )

    if bias and tape.trains(bias):
        tape.update("bias_update", op, (gradient,), bias, UpdateAttributes(scales=scales))
    if tape.wants(x.name):  # before the update: the gradient is that of the old weights
        kind = "depthwise_input_grad" if depthwise else "conv2d_input_grad"
        attributes = InputGradAttributes(window, input_size, output_size, x.shape, scales)
        result = tape.emit(kind, op, (gradient, weights.name, rest), x.shape, attributes)
        tape.contribute(x.name, result)
    if tape.trains(weights.name):
        tape.update(
            "depthwise_update" if depthwise else "conv2d_update",
            op,
            (gradient, x.name),
            weights.name,
            WeightUpdateAttributes(
                scales=scales, window=window, input_size=input_size, output_size=output_size
            ),
        )
