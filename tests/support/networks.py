"""Small int8 networks built layer by layer, with scales that fit their activations.

Weights are random; each layer's output scale comes from a float run over a few inputs, so that
little saturates, as in a network that a converter has quantized.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op, Order, Quantization, Tensor
from tinykit.ops.add import AddAttributes
from tinykit.ops.batch_matmul import BatchMatmulAttributes
from tinykit.ops.binary import BinaryAttributes
from tinykit.ops.concatenation import ConcatenationAttributes
from tinykit.ops.conv2d import Conv2DAttributes
from tinykit.ops.evaluate import Run, Step
from tinykit.ops.fully_connected import FullyConnectedAttributes
from tinykit.ops.gather import GatherAttributes
from tinykit.ops.mean import MeanAttributes
from tinykit.ops.pad import PadAttributes
from tinykit.ops.pointwise import PointwiseAttributes
from tinykit.ops.pool import PoolAttributes
from tinykit.ops.quantize import QuantizeAttributes
from tinykit.ops.registry import check_shapes, operator
from tinykit.ops.relu import ReluAttributes
from tinykit.ops.reshape import ReshapeAttributes
from tinykit.ops.resize_bilinear import ResizeBilinearAttributes
from tinykit.ops.slice import SliceAttributes
from tinykit.ops.softmax import SoftmaxAttributes
from tinykit.ops.spread import SpreadAttributes
from tinykit.ops.transpose import TransposeAttributes
from tinykit.ops.window import same_padding

Pair = tuple[int, int]
SAMPLES = 6  # inputs that the scales are fitted to


def float32(x: float) -> float:
    return float(np.float32(x))


@dataclass
class Network:
    """A graph under construction; `values` holds each tensor's codes for the fitting inputs."""

    shape: tuple[int, ...]
    seed: int = 0
    per_channel: bool = True
    input_scale: float = 0.02
    input_zero_point: int = -7
    tensors: dict[str, Tensor] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    values: list[dict[str, Array]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        quant = Quantization.per_tensor(float32(self.input_scale), self.input_zero_point)
        self.tensors["x"] = Tensor("x", self.shape, "int8", quant)
        self.values = [{"x": x} for x in self.inputs(SAMPLES)]

    def inputs(self, count: int) -> Array:
        """int8 [count, …shape]: smooth random fields, the centre of their range moving."""
        noise = self.random.normal(0.0, 1.0, (count, *self.shape))
        for axis in range(2, len(self.shape)):
            noise = noise + np.roll(noise, 1, axis)
        centre = self.random.normal(0.0, 20.0, (count,) + (1,) * len(self.shape))
        return np.clip(np.rint(30 * noise + centre), -128, 127).astype(np.int8)

    # --- layers: each returns the name of its output ---------------------------------------------

    def conv(
        self,
        x: str,
        outputs: int,
        kernel: Pair = (3, 3),
        stride: Pair = (1, 1),
        dilation: Pair = (1, 1),
        padding: str | tuple[int, int, int, int] = "same",
        activation: str = "relu",
        multiplier: int = 0,
        bias: bool = True,
    ) -> str:
        """CONV_2D, or DEPTHWISE_CONV_2D with a `multiplier` (then `outputs` does not count)."""
        _, height, width, channels = self.tensors[x].shape
        shape: tuple[int, ...] = (outputs, *kernel, channels)
        axis, fan_in = 0, kernel[0] * kernel[1] * channels
        if multiplier:
            shape, axis, fan_in = (1, *kernel, channels * multiplier), 3, kernel[0] * kernel[1]
        if isinstance(padding, str):
            padding = self._padding(padding, (height, width), kernel, stride, dilation)
        attributes = Conv2DAttributes(stride, dilation, padding, activation)
        kind = "depthwise_conv2d" if multiplier else "conv2d"
        return self._layer(kind, x, shape, axis, fan_in, attributes, activation, bias)

    def depthwise(
        self,
        x: str,
        multiplier: int = 1,
        kernel: Pair = (3, 3),
        stride: Pair = (1, 1),
        dilation: Pair = (1, 1),
        padding: str = "same",
        activation: str = "relu",
    ) -> str:
        return self.conv(x, 0, kernel, stride, dilation, padding, activation, multiplier)

    def dense(self, x: str, outputs: int, activation: str = "none", bias: bool = True) -> str:
        channels = self.tensors[x].shape[-1]
        attributes = FullyConnectedAttributes(activation)
        shape = (outputs, channels)
        return self._layer("fully_connected", x, shape, 0, channels, attributes, activation, bias)

    def add(self, a: str, b: str, activation: str = "none") -> str:
        return self._op("add", (a, b), AddAttributes(activation), activation)

    def binary(self, kind: str, a: str, b: str, activation: str = "none") -> str:
        """MUL, SUB …; MINIMUM and MAXIMUM keep their inputs' quantization."""
        quant = self.tensors[a].quant if kind in ("minimum", "maximum") else None
        return self._op(kind, (a, b), BinaryAttributes(activation), activation, quant)

    def pointwise(self, kind: str, x: str, alpha: float = 0.0) -> str:
        """LOGISTIC, TANH …"""
        known = {"logistic": (1 / 256, -128), "tanh": (1 / 128, 0)}.get(kind)
        quant = Quantization.per_tensor(*known) if known else None
        return self._op(kind, (x,), PointwiseAttributes(float32(alpha)), "none", quant)

    def constant(self, real: Array, name: str) -> str:
        """An int8 constant, its scale fitted."""
        scale = float32(max(float(np.abs(real).max()), 1e-6) / 127)
        data = np.rint(real / scale).astype(np.int8)
        quant = Quantization.per_tensor(scale, 0)
        self.tensors[name] = Tensor(name, data.shape, "int8", quant, "flash", data)
        return name

    def average_pool(
        self, x: str, kernel: Pair, stride: Pair, padding: str = "same", activation: str = "none"
    ) -> str:
        return self._pool("average_pool2d", x, kernel, stride, padding, activation)

    def max_pool(
        self, x: str, kernel: Pair, stride: Pair, padding: str = "same", activation: str = "none"
    ) -> str:
        return self._pool("max_pool2d", x, kernel, stride, padding, activation)

    def mean(
        self, x: str, axes: tuple[int, ...] = (), keep_dims: bool = False, kind: str = "mean"
    ) -> str:
        """Over `axes`, or all but the first and last; SUM with kind "sum"."""
        axes = axes or tuple(range(1, len(self.tensors[x].shape) - 1))
        return self._op(kind, (x,), MeanAttributes(axes, keep_dims), "none")

    def resize(self, x: str, size: Pair, align: bool = False, half: bool = False) -> str:
        attributes = ResizeBilinearAttributes(size, align, half)
        return self._op("resize_bilinear", (x,), attributes, "none", self.tensors[x].quant)

    def largest(self, x: str, axes: tuple[int, ...], keep_dims: bool = False) -> str:
        attributes = MeanAttributes(axes, keep_dims)
        return self._op("reduce_max", (x,), attributes, "none", self.tensors[x].quant)

    def pad(self, x: str, paddings: Sequence[Pair]) -> str:
        quant = self.tensors[x].quant
        attributes = PadAttributes(tuple(paddings), quant.zero_point0)
        return self._op("pad", (x,), attributes, "none", quant)

    def relu(self, x: str, activation: str = "relu") -> str:
        return self._op(activation, (x,), ReluAttributes(), activation)

    def requantize(self, x: str, ratio: float) -> str:
        """QUANTIZE to a range that is `ratio` of the input's, around its middle."""
        quant = self.tensors[x].quant
        zero_point = int(np.rint((quant.zero_point0 + 0.5) / ratio - 0.5))
        narrow = Quantization.per_tensor(
            float32(quant.scale0 * ratio), int(np.clip(zero_point, -128, 127))
        )
        return self._op("quantize", (x,), QuantizeAttributes(), "none", narrow)

    def reshape(self, x: str, shape: tuple[int, ...]) -> str:
        return self._op("reshape", (x,), ReshapeAttributes(shape), "none", self.tensors[x].quant)

    def transpose(self, x: str, permutation: tuple[int, ...]) -> str:
        attributes = TransposeAttributes(permutation)
        return self._op("transpose", (x,), attributes, "none", self.tensors[x].quant)

    def concatenate(self, inputs: Sequence[str], axis: int) -> str:
        """Of tensors with one quantization (parts of one tensor, for instance)."""
        attributes = ConcatenationAttributes(axis)
        quant = self.tensors[inputs[0]].quant
        return self._op("concatenation", tuple(inputs), attributes, "none", quant)

    def slice(self, x: str, begin: Sequence[int], step: Sequence[int], size: Sequence[int]) -> str:
        attributes = SliceAttributes(tuple(begin), tuple(step), tuple(size))
        return self._op("slice", (x,), attributes, "none", self.tensors[x].quant)

    def gather(self, x: str, axis: int, indices: Sequence[int]) -> str:
        attributes = GatherAttributes(axis, tuple(indices))
        return self._op("gather", (x,), attributes, "none", self.tensors[x].quant)

    def matmul(self, a: str, b: str, adj_x: bool = False, adj_y: bool = False) -> str:
        return self._op("batch_matmul", (a, b), BatchMatmulAttributes(adj_x, adj_y), "none")

    def spread(self, x: str, stride: Pair) -> str:
        return self._op("spread", (x,), SpreadAttributes(stride), "none", self.tensors[x].quant)

    def flatten(self, x: str) -> str:
        return self.reshape(x, (1, self.tensors[x].size))

    def softmax(self, x: str) -> str:
        quant = Quantization.per_tensor(1 / 256, -128)
        return self._op("softmax", (x,), SoftmaxAttributes(), "none", quant)

    def log_softmax(self, x: str) -> str:
        quant = Quantization.per_tensor(16 / 256, 127)
        return self._op("log_softmax", (x,), Attributes(), "none", quant)

    def sigmoid(self, x: str) -> str:
        return self.pointwise("logistic", x)

    def graph(self, output: str, name: str = "network") -> Graph:
        return check_shapes(Graph(name, dict(self.tensors), tuple(self.ops), ("x",), (output,)))

    # --- how they are made ------------------------------------------------------------------------

    def _padding(
        self, padding: str, size: Pair, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)
    ) -> tuple[int, int, int, int]:
        if padding == "valid":
            return (0, 0, 0, 0)
        top, bottom = same_padding(size[0], kernel[0], stride[0], dilation[0])
        return (top, bottom, *same_padding(size[1], kernel[1], stride[1], dilation[1]))

    def _pool(
        self, kind: str, x: str, kernel: Pair, stride: Pair, padding: str, activation: str
    ) -> str:
        size = self.tensors[x].shape[1:3]
        pads = self._padding(padding, (size[0], size[1]), kernel, stride)
        attributes = PoolAttributes(kernel, stride, pads, activation)
        return self._op(kind, (x,), attributes, activation, self.tensors[x].quant)

    def _layer(
        self,
        kind: str,
        x: str,
        shape: tuple[int, ...],
        axis: int,
        fan_in: int,
        attributes: Attributes,
        activation: str,
        bias: bool,
    ) -> str:
        name = f"{kind}_{len(self.ops)}"
        channels = shape[axis]
        spread = [1] * len(shape)
        spread[axis] = channels
        gains = self.random.uniform(0.5, 2.0, channels).reshape(spread)
        real = self.random.normal(0.0, 1.4 / np.sqrt(fan_in), shape) * gains
        others = tuple(i for i in range(len(shape)) if i != axis)
        peaks = np.abs(real).max(axis=others) if self.per_channel else np.abs(real).max()
        scales = np.float32(np.maximum(peaks, 1e-3) / 127).reshape(-1)
        codes = np.rint(real / (scales.reshape(spread) if self.per_channel else scales))
        data = np.clip(codes, -127, 127).astype(np.int8)
        per_channel = self.per_channel and channels > 1
        quant = Quantization(
            tuple(map(float, scales)), (0,) * len(scales), axis if per_channel else None
        )
        order: Order = "pairs" if axis == 0 else "plain"
        weights = Tensor(f"{name}/kernel", shape, "int8", quant, "flash", data, order)
        self.tensors[weights.name] = weights
        inputs = [x, weights.name, ""]
        if bias:
            steps = np.float64(self.tensors[x].quant.scale0) * scales.astype(np.float64)
            terms = np.rint(self.random.normal(0.0, 0.3, channels) / steps).astype(np.int32)
            shared = Quantization(tuple(map(float32, steps)), (0,) * len(scales), None)
            inputs[2] = f"{name}/offset"
            offset = Tensor(inputs[2], (channels,), "int32", shared, "flash", terms)
            self.tensors[offset.name] = offset
        return self._op(kind, tuple(inputs), attributes, activation, name=name)

    def _op(
        self,
        kind: str,
        inputs: tuple[str, ...],
        attributes: Attributes,
        activation: str,
        quant: Quantization | None = None,
        name: str = "",
    ) -> str:
        """Append an op; without `quant` its output's scale and zero point are fitted."""
        name = name or f"{kind}_{len(self.ops)}"
        output = f"{name}:0"
        op = Op(kind, name, inputs, (output,), attributes, layer=name)
        trial = quant or Quantization.per_tensor(1.0, 0)
        self.tensors[output] = Tensor(output, (), "int8", trial)
        shape = operator(kind).shapes(self.graph_of(), op)[0]
        self.tensors[output] = Tensor(output, shape, "int8", trial)
        if quant is None:
            self.tensors[output] = Tensor(output, shape, "int8", self._fitted(op, activation))
        self.ops.append(op)
        for values in self.values:
            values[output] = self._run(op, values)
        return output

    def graph_of(self) -> Graph:
        return Graph("partial", dict(self.tensors), tuple(self.ops), ("x",), ())

    def _run(self, op: Op, values: dict[str, Array]) -> Array:
        constants = {n: t.data for n, t in self.tensors.items() if t.data is not None}
        run = Run(self.graph_of(), {**constants, **values}, Step())
        return operator(op.kind).evaluate(op, run)[0]

    def _fitted(self, op: Op, activation: str) -> Quantization:
        """A coarse scale first, doubled until nothing saturates; then the range it shows."""
        output, shape = op.outputs[0], self.tensors[op.outputs[0]].shape
        scale = 2.0**-8
        while True:
            self.tensors[output] = Tensor(output, shape, "int8", Quantization.per_tensor(scale, 0))
            codes = np.stack([self._run(op, values) for values in self.values]).astype(np.float64)
            if np.abs(codes).max() < 120 or (activation == "relu6" and scale > 0.05):
                break
            scale *= 2
        low, high = min(codes.min() * scale, 0.0), max(codes.max() * scale, scale)
        if activation in ("relu", "relu6"):  # as a rule the range begins at 0, but it need not
            low = -0.25 * high if self.random.random() < 0.3 else 0.0
        if activation == "relu6":
            high = min(high, 6.0)
        if op.kind == "mean":  # at the very ends of a clamp gradients are a convention
            low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
        fitted = float32((high - low) / 255)
        zero_point = int(np.clip(np.rint(-128 - low / fitted), -128, 127))
        return Quantization.per_tensor(fitted, zero_point)
