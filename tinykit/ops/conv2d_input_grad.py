"""Gradient of a convolution with respect to its input.

Inputs: scaled gradient int16 [1, OH, OW, O] (see channel_scale), weights [O, KH, KW, K], rest
[O, KH, KW, C-K] or absent: the old weights, those of the forward pass.
Output: gradient int16 of the input's shape.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Address, Call, Cost, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import exact
from tinykit.ops.gradient_arithmetic import gradient_result, gradient_shift
from tinykit.ops.window import Pair, Window


@dataclass(frozen=True)
class InputGradAttributes(Attributes):
    """window of the forward op; sizes (H, W) and (OH, OW); shape: of the input tensor.

    weight_exponent: the gradient comes divided by 2**weight_exponent (see channel_scale).
    """

    window: Window
    input_size: Pair
    output_size: Pair
    shape: tuple[int, ...]
    weight_exponent: int


class Conv2DInputGrad(Operator[InputGradAttributes]):
    kind = "conv2d_input_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (self.attributes(op).shape,)

    def _acc_exponent(self, graph: Graph, op: Op) -> int:
        return graph[op.inputs[0]].quant.exponent + self.attributes(op).weight_exponent

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes = self.attributes(op)
        weights = exact(run.joined(op.inputs[1], op.inputs[2]))
        channels = weights.shape[0]
        gradient = run[op.inputs[0]].reshape(-1, channels).astype("float64")
        patches = gradient @ weights.reshape(channels, -1)
        oh, ow = attributes.output_size
        spread = patches.reshape(oh, ow, *attributes.window.kernel, -1)
        acc = attributes.window.scatter(spread, *attributes.input_size)
        if run.real:
            acc = acc * 2.0**attributes.weight_exponent
            return (acc.reshape(attributes.shape),)
        exponent = self._acc_exponent(run.graph, op)
        return (gradient_result(run, op.outputs[0], acc, exponent, attributes.shape),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        kh, kw = self.attributes(op).window.kernel
        elements = graph[op.outputs[0]].size
        oh, ow = self.attributes(op).output_size
        channels = graph[op.outputs[0]].shape[-1]
        return Cost(oh * ow * kh * kw * channels * graph[op.inputs[1]].shape[0], elements)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        weights, rest = graph[op.inputs[1]], op.inputs[2]
        struct = Struct(
            "tk_conv2d_input_grad",
            {
                "window": attributes.window.struct(attributes.input_size, attributes.output_size),
                "weights": Address(weights.name),
                "weights_rest": Address(rest) if rest else None,
                "input_channels": graph[op.outputs[0]].shape[-1],
                "split": weights.shape[-1],
                "output_channels": weights.shape[0],
                "shift": gradient_shift(graph, op.outputs[0], self._acc_exponent(graph, op)),
            },
        )
        arguments = (op.inputs[0], op.outputs[0], "$trainer")
        return (Call("tk_conv2d_input_grad_s16", struct, arguments),)


OPERATOR = Conv2DInputGrad()
