"""The gradients of a quantized network as TensorFlow finds them: the judge of tinykit's.

The network is built anew from a forward graph's tensors and attributes, in float64.  Each layer
computes from the dequantized integer activations of the integer forward pass; rounding is passed
straight through, then the value is clamped as the integers are; the gradient of the clamp is
TensorFlow's own.  Logits are not clamped.  No gradient code of tinykit is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tinykit.ir import Array, Graph, Op, Tensor
from tinykit.ops import lstm
from tinykit.ops.evaluate import Run
from tinykit.ops.registry import operator

Value = Any  # tf.Tensor


def dequantized(tensor: Tensor, codes: Array) -> Array:
    """Real values in float64; scales may be per channel along the quantization's axis."""
    quant = tensor.quant
    scale, zero = np.array(quant.scale), np.array(quant.zero_point)
    if len(scale) > 1:
        shape = [1] * codes.ndim
        shape[quant.axis or 0] = len(scale)
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return np.asarray((codes.astype(np.float64) - zero) * scale)


FUNCTIONS: dict[str, Any] = {
    "logistic": lambda x, _: tf.sigmoid(x),
    "tanh": lambda x, _: tf.tanh(x),
    "leaky_relu": lambda x, alpha: tf.where(x > 0, x, alpha * x),
    "hard_swish": lambda x, _: x * tf.nn.relu6(x + 3) / 6,
    "elu": lambda x, _: tf.nn.elu(x),
    "abs": lambda x, _: tf.abs(x),
    "neg": lambda x, _: -x,
    "square": lambda x, _: x * x,
    "rsqrt": lambda x, _: tf.math.rsqrt(tf.maximum(x, 1e-9)),
    "exp": lambda x, _: tf.exp(x),
    "gelu": lambda x, alpha: tf.nn.gelu(x, approximate=alpha == 1),
}


NO_VALUES = ("activation_mask", "read_variable", "assign_variable")  # constants, as states are

# whose results lie among their inputs
NEVER_CLAMPED = ("average_pool2d", "max_pool2d", "reduce_max", "resize_bilinear")


class Network:
    """One forward pass in TensorFlow over given integer activations.

    codes: the integer value of every forward tensor and parameter, by name.
    """

    def __init__(self, graph: Graph, codes: Mapping[str, Array], logits: str) -> None:
        self.graph, self.codes, self.logits = graph, codes, logits
        self.unclamped = {logits}
        for op in reversed(graph.ops):
            if op.kind == "reshape" and op.outputs[0] in self.unclamped:
                self.unclamped.add(op.inputs[0])
        self.variables: dict[str, Value] = {}
        self.values: dict[str, Value] = {}

    def parameter(self, name: str, real: Array) -> Value:
        if self.graph[name].storage != "parameters":
            return tf.constant(real)
        self.variables[name] = tf.Variable(real)
        return self.variables[name]

    def weights(self, op: Op) -> Value:
        """Both blocks of a layer's weights as one tensor, [O, KH, KW, C] or its kind."""
        blocks = [op.inputs[1], *(name for name in op.inputs[3:] if name)]
        return tf.concat(
            [self.parameter(n, dequantized(self.graph[n], self.codes[n])) for n in blocks], -1
        )

    def bias(self, op: Op) -> Value:
        name = op.inputs[2] if len(op.inputs) > 2 else ""
        if not name:
            return 0.0
        scales = np.concatenate(
            [self.graph[n].quant.scale for n in (op.inputs[1], *op.inputs[3:4]) if n]
        )
        if op.kind != "depthwise_conv2d" or len(set(scales)) == 1:
            scales = np.array(self.graph[op.inputs[1]].quant.scale)
        step = self.graph[op.inputs[0]].quant.scale0 * scales
        return self.parameter(name, self.codes[name] * step)

    def run(self) -> Value:
        """The logits."""
        self.values[self.graph.inputs[0]] = self._codes_of(self.graph.inputs[0])
        for op in self.graph.ops:
            if op.phase != "forward" or op.kind in NO_VALUES:
                continue
            real = getattr(self, f"_{op.kind}")(op)
            name = op.outputs[0]
            self.values[name] = self._settled(op, real)
            if name == self.logits:
                return self.values[name]
        raise AssertionError(f"{self.logits} is never made")

    def _codes_of(self, name: str) -> Value:
        return tf.constant(dequantized(self.graph[name], self.codes[name]))

    def _settled(self, op: Op, real: Value) -> Value:
        """`real` rounded and clamped with its gradient, then of exactly the integer's value.

        Inside the clamp's ends the rounded value is the integer that the forward pass found.  At
        an end itself a clamp's gradient is a convention: 0, as TensorFlow's relu has it.  Averages
        and largest values never leave their inputs' range: only MEAN, which rescales, can be
        clamped, at an end beyond which its input reaches.
        """
        name = op.outputs[0]
        if op.kind in ("reshape", "pad", "minimum", "maximum", "lstm") or operator(op.kind).moves:
            return real
        quant = self.graph[name].quant
        activation = getattr(op.attributes, "activation", "none")
        activation = op.kind if op.kind in ("relu", "relu6") else activation
        low, high = -128.0 - quant.zero_point0, 127.0 - quant.zero_point0
        if activation in ("relu", "relu6"):
            low = max(low, 0.0)
        if activation == "relu6":
            high = min(high, np.rint(6.0 / quant.scale0))
        if op.kind == "mean":
            source = self.graph[op.inputs[0]].quant
            reach = (np.array([-128, 127]) - source.zero_point0) * source.scale0 / quant.scale0
            low = low if reach[0] < low - 0.5 else -np.inf
            high = high if reach[1] > high + 0.5 else np.inf
        if op.kind in ("softmax", "log_softmax"):
            return real + tf.stop_gradient(self._codes_of(name) - real)
        code = real / quant.scale0
        if op.kind in FUNCTIONS:  # rounded, its gradient stops where the rounded code leaves int8
            inside = (code >= low - 0.5) & (code <= high + 0.5)
            value = tf.where(inside, real, tf.stop_gradient(real))
            return value + tf.stop_gradient(self._codes_of(name) - value)
        if activation != "none" or not (op.kind in NEVER_CLAMPED or name in self.unclamped):
            known = self.codes[name].astype(np.float64) - quant.zero_point0
            nearest = tf.round(code)
            nearest = tf.where(known <= low, tf.minimum(nearest, low), known)
            nearest = tf.where(known >= high, tf.maximum(tf.round(code), high), nearest)
            code = code + tf.stop_gradient(nearest - code)
            if activation == "relu6":
                code = tf.nn.relu6(code * quant.scale0) / quant.scale0
            if np.isfinite(low):
                code = low + tf.nn.relu(code - low)
            if np.isfinite(high):
                code = high - tf.nn.relu(high - code)
        value = code * quant.scale0
        return value + tf.stop_gradient(self._codes_of(name) - value)

    # --- operators --------------------------------------------------------------------------------

    def _input(self, op: Op, index: int = 0) -> Value:
        name = op.inputs[index]
        return self.values[name] if name in self.values else self._codes_of(name)

    def _padded(self, op: Op) -> Value:
        top, bottom, left, right = op.attributes.padding  # type: ignore[attr-defined]
        return tf.pad(self._input(op), [[0, 0], [top, bottom], [left, right], [0, 0]])

    def _conv2d(self, op: Op) -> Value:
        stride, dilation = _geometry(op)
        kernel = _dilated(tf.transpose(self.weights(op), [1, 2, 3, 0]), dilation)
        return tf.nn.conv2d(self._padded(op), kernel, stride, "VALID") + self.bias(op)

    def _depthwise_conv2d(self, op: Op) -> Value:
        (down, right), dilation = _geometry(op)
        weights = self.weights(op)
        _, kh, kw, outputs = weights.shape
        channels = self.graph[op.inputs[0]].shape[-1]
        kernel = _dilated(tf.reshape(weights, [kh, kw, channels, outputs // channels]), dilation)
        every = tf.nn.depthwise_conv2d(self._padded(op), kernel, [1, 1, 1, 1], "VALID")
        return every[:, ::down, ::right] + self.bias(op)

    def _fully_connected(self, op: Op) -> Value:
        return tf.linalg.matmul(self._input(op), self.weights(op), transpose_b=True) + self.bias(op)

    def _fine_logits(self, op: Op) -> Value:
        weights = self.weights(op)
        flat = tf.reshape(weights, [weights.shape[0], -1])
        sums = tf.linalg.matmul(tf.reshape(self._input(op), [1, -1]), flat, transpose_b=True)
        return tf.reshape(sums + self.bias(op), self.graph[op.outputs[0]].shape)

    def _add(self, op: Op) -> Value:
        return self._input(op) + self._input(op, 1)

    def _mul(self, op: Op) -> Value:
        return self._input(op) * self._input(op, 1)

    def _sub(self, op: Op) -> Value:
        return self._input(op) - self._input(op, 1)

    def _squared_difference(self, op: Op) -> Value:
        return tf.math.squared_difference(self._input(op), self._input(op, 1))

    def _div(self, op: Op) -> Value:
        return self._input(op) / self._input(op, 1)

    def _minimum(self, op: Op) -> Value:
        return tf.minimum(self._input(op), self._input(op, 1))

    def _maximum(self, op: Op) -> Value:
        return tf.maximum(self._input(op), self._input(op, 1))

    def __getattr__(self, name: str) -> Any:
        """The method of a function of one value."""
        if name[1:] not in FUNCTIONS:
            raise AttributeError(name)
        function = FUNCTIONS[name[1:]]
        return lambda op: function(self._input(op), getattr(op.attributes, "alpha", 0.0))

    def _average_pool2d(self, op: Op) -> Value:
        return self._pool(op, tf.nn.avg_pool2d)

    def _max_pool2d(self, op: Op) -> Value:
        return self._pool(op, tf.nn.max_pool2d)

    def _pool(self, op: Op, function: Any) -> Value:
        attributes: Any = op.attributes
        results = {
            padding: function(self._input(op), attributes.kernel, attributes.stride, padding)
            for padding in (("SAME", "VALID") if any(attributes.padding) else ("VALID",))
        }
        shape = self.graph[op.outputs[0]].shape
        return next(value for value in results.values() if value.shape == shape)

    def _mean(self, op: Op) -> Value:
        attributes: Any = op.attributes
        return tf.reduce_mean(self._input(op), attributes.axes, attributes.keep_dims)

    def _sum(self, op: Op) -> Value:
        attributes: Any = op.attributes
        return tf.reduce_sum(self._input(op), attributes.axes, attributes.keep_dims)

    def _reduce_max(self, op: Op) -> Value:
        """The first largest, as a sum with one term."""
        attributes: Any = op.attributes
        first, last = attributes.axes[0], attributes.axes[-1] + 1
        x, shape = self._input(op), self.graph[op.inputs[0]].shape
        sizes = [int(np.prod(part)) for part in (shape[:first], shape[first:last], shape[last:])]
        codes = self.codes[op.inputs[0]].reshape(sizes)
        chosen = np.arange(sizes[1])[:, None] == codes.argmax(axis=1)[:, None]
        total = tf.reduce_sum(tf.reshape(x, sizes) * chosen.astype(np.float64), 1)
        return tf.reshape(total, self.graph[op.outputs[0]].shape)

    def _prelu(self, op: Op) -> Value:
        x = self._input(op)
        return tf.where(x >= 0, x, x * self._input(op, 1))

    def _resize_bilinear(self, op: Op) -> Value:
        """TensorFlow's, in whose float32 the shares of the tests are exact."""
        a: Any = op.attributes
        return tf.cast(
            tf.compat.v1.image.resize_bilinear(
                tf.cast(self._input(op), tf.float32), a.size, a.align_corners,
                half_pixel_centers=a.half_pixel_centers,
            ),
            tf.float64,
        )  # fmt: skip

    def _softmax(self, op: Op) -> Value:
        """At the rounded probabilities, whose logarithms stand for the logits."""
        x = self._input(op) * op.attributes.beta  # type: ignore[attr-defined]
        known = tf.math.log(tf.maximum(self._codes_of(op.outputs[0]), 1e-30))
        return tf.nn.softmax(known + x - tf.stop_gradient(x))

    def _log_softmax(self, op: Op) -> Value:
        """At the rounded logarithms of the probabilities."""
        return tf.nn.log_softmax(_moved(self._input(op), self._codes_of(op.outputs[0]).numpy()))

    def _pad(self, op: Op) -> Value:
        return tf.pad(self._input(op), op.attributes.paddings)  # type: ignore[attr-defined]

    def _relu(self, op: Op) -> Value:
        return self._input(op)

    _relu6 = _quantize = _relu

    def _lookup(self, op: Op) -> Value:
        return self._codes_of(op.outputs[0])  # only in front of what learns: no gradient

    def _transpose(self, op: Op) -> Value:
        attributes: Any = op.attributes
        return tf.transpose(self._input(op), attributes.permutation)

    def _batch_matmul(self, op: Op) -> Value:
        attributes: Any = op.attributes
        a, b = self._input(op), self._input(op, 1)
        return tf.linalg.matmul(a, b, attributes.adj_x, attributes.adj_y)

    def _concatenation(self, op: Op) -> Value:
        attributes: Any = op.attributes
        return tf.concat([self._input(op, i) for i in range(len(op.inputs))], attributes.axis)

    def _slice(self, op: Op) -> Value:
        attributes: Any = op.attributes
        x = self._input(op)
        for axis in range(len(x.shape)):
            begin, step, size = (
                values[axis] for values in (attributes.begin, attributes.step, attributes.size)
            )
            x = tf.gather(x, [begin + step * i for i in range(size)], axis=axis)
        return x

    def _spread(self, op: Op) -> Value:
        attributes: Any = op.attributes
        _, height, width, _ = self.graph[op.outputs[0]].shape
        x, (down, right) = self._input(op), attributes.stride
        x = tf.repeat(x, [down] * x.shape[1], axis=1) * _comb(x.shape[1], down)[:, None, None]
        x = tf.repeat(x, [right] * x.shape[2], axis=2) * _comb(x.shape[2], right)[:, None]
        return x[:, :height, :width]

    def _svdf(self, op: Op) -> Value:
        """The state after this run, its newest features by their gradient."""
        bias, time, state = (op.inputs[i] for i in (2, 4, 5))
        filters, memory = self.graph[time].shape
        known = dequantized(self.graph[state], self.codes[state]).reshape(filters, memory)
        blocks = [self.parameter(name, dequantized(self.graph[name], self.codes[name]))
                  for name in (op.inputs[1], op.inputs[3]) if name]  # fmt: skip
        feature = tf.linalg.matvec(tf.concat(blocks, -1), tf.reshape(self._input(op), [-1]))
        feature = feature + tf.stop_gradient(known[:, -1] - feature)
        now = tf.concat([known[:, :-1], feature[:, None]], 1)
        sums = tf.reduce_sum(now * dequantized(self.graph[time], self.codes[time]), 1)
        total = tf.reduce_sum(tf.reshape(sums, (*self.graph[op.outputs[0]].shape, -1)), -1)
        if not bias:
            return total
        step = self.graph[state].quant.scale0 * self.graph[time].quant.scale0
        return total + self.parameter(bias, self.codes[bias] * step)

    def _lstm(self, op: Op) -> Value:
        """Step by step, each function at the gate that the integers have."""
        steps = lstm.forward(op.inputs, Run(self.graph, dict(self.codes)), op.attributes)
        names = op.inputs
        weights = [self._codes_of(name) for name in names[lstm.WEIGHTS : lstm.BIASES]]
        hidden, cell = (tf.reshape(self._codes_of(names[i]), [-1]) for i in (1, 2))
        rows, outputs = tf.reshape(self._input(op), [len(steps.cells), -1]), []
        scale, quant = self.graph[names[2]].quant.scale0, self.graph[op.outputs[0]].quant
        for t, code in enumerate(steps.outputs):
            known = steps.gates[:, t] / 2.0**15
            z = [
                tf.linalg.matvec(w, rows[t]) + tf.linalg.matvec(r, hidden)
                for w, r in zip(weights[:4], weights[4:], strict=True)
            ]
            i, f, o = (tf.sigmoid(_moved(z[k], _logit(known[k]))) for k in (0, 1, 3))
            g = tf.tanh(_moved(z[2], np.arctanh(np.clip(known[2], -1 + 1e-9, 1 - 1e-9))))
            cell = _moved(f * cell + i * g, steps.cells[t] * scale)
            shift = lstm.tanh_shift(self.graph, names)
            tanh = lstm.tanh16(steps.cells[t], shift) / 2.0**15
            hidden = o * tf.tanh(_moved(cell, np.arctanh(np.clip(tanh, -1 + 1e-9, 1 - 1e-9))))
            ends = (code == -128) | (code == 127)
            hidden = tf.where(ends, tf.stop_gradient(hidden), hidden)
            hidden = _moved(hidden, (code - quant.zero_point0) * quant.scale0)
            outputs.append(hidden)
        return tf.reshape(tf.stack(outputs), self.graph[op.outputs[0]].shape)

    def _gather(self, op: Op) -> Value:
        attributes: Any = op.attributes
        return tf.gather(self._input(op), attributes.indices, axis=attributes.axis)

    def _reshape(self, op: Op) -> Value:
        return tf.reshape(self._input(op), self.graph[op.outputs[0]].shape)


def _moved(x: Value, known: Array) -> Value:
    """Of the value `known`, with the gradient of x."""
    return x + tf.stop_gradient(known - x)


def _logit(p: Array) -> Array:
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(p / (1 - p)))


def _comb(teeth: int, stride: int) -> Array:
    """1 at every stride-th place, 0 between them."""
    return np.tile(np.arange(stride) == 0, teeth).astype(np.float64)


def _geometry(op: Op) -> tuple[Any, Any]:
    attributes: Any = op.attributes
    return attributes.stride, attributes.dilation


def _dilated(kernel: Value, dilation: tuple[int, int]) -> Value:
    """[KH, KW, …] with zeros between the taps: CPUs have no gradient of dilated convolutions."""
    kh, kw, *rest = kernel.shape
    down, right = dilation
    kernel = tf.reshape(kernel, [kh, 1, kw, 1, *rest])
    kernel = tf.pad(kernel, [[0, 0], [0, down - 1], [0, 0], [0, right - 1], [0, 0], [0, 0]])
    kernel = tf.reshape(kernel, [kh * down, kw * right, *rest])
    return kernel[: (kh - 1) * down + 1, : (kw - 1) * right + 1]


SOFTMAX = "softmax_cross_entropy"


def triplet(target: Any, row: Value) -> Value:
    """target: (own centre, [the others], margin)."""
    own, others, margin = target
    near = tf.reduce_sum(tf.square(row - own))
    far = tf.reduce_min([tf.reduce_sum(tf.square(row - other)) for other in others])
    return tf.maximum(near - far + margin, 0.0)


LOSSES: dict[str, Any] = {
    "triplet": triplet,
    SOFTMAX: tf.nn.sparse_softmax_cross_entropy_with_logits,
    "sigmoid_cross_entropy": lambda target, row: tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(tf.constant(target, tf.float64), row)
    ),
    "mean_squared_error": lambda target, row: tf.reduce_mean(tf.square(row - target)),
}


def tensorflow_gradients(
    graph: Graph, codes: Mapping[str, Array], logits: str, target: Any, kind: str = SOFTMAX
) -> tuple[float, dict[str, Array]]:
    """(loss, gradients by name) for every trained parameter.

    graph: a training graph or its forward part; codes: integers of a forward pass through it;
    target: a class, the real values of a vector, or what `triplet` says; kind: the loss.
    """
    with tf.GradientTape() as tape:
        network = Network(graph, codes, logits)
        row = tf.reshape(network.run(), [-1])
        loss = LOSSES[kind](target, row)
    found = tape.gradient(loss, network.variables)
    return float(loss), {name: value.numpy() for name, value in found.items()}
