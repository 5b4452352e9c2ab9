"""The same network and plan in float32, by TensorFlow.

Weights, biases and the parameters' initial values are the int8 network's, dequantized; so are the
samples (or features of a frozen prefix). Every layer's output is clamped to the range that the int8
network's has (in MCUNet that clamp is the ReLU6); the logits are not. Nothing is rounded, neither
activations nor weights nor gradients: masters are float32. A step is plain SGD on one sample.

A whole run is one tf.function, a loop in the graph: no Python between steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinykit.errors import ModelError
from tinykit.importers.keras import import_tensorflow
from tinykit.ir import Array, Graph, Op
from tinykit.training.loss import before_reshapes, logits_of
from tinykit.training.plan import Optimizer
from tinykit.training.rate import learning_rate

Tensor = Any
Floats = NDArray[np.float32]


class FloatNetwork:
    """A forward graph whose trained tensors are stored as parameters (see make_trainable)."""

    def __init__(self, graph: Graph) -> None:
        self.tf = import_tensorflow()
        self.graph = graph
        self.logits = before_reshapes(graph, logits_of(graph))
        self.names = [n for n, t in graph.tensors.items() if t.storage == "parameters"]
        self._train = self.tf.function(self._steps, autograph=False)
        self._classify = self.tf.function(
            lambda x, values: self.tf.argmax(self._run(x, values), -1),
            reduce_retracing=True,
            autograph=False,
        )

    def initial(self, graph: Graph | None = None) -> dict[str, Floats]:
        """The trained tensors, dequantized; of the same graph with another head, if given."""
        graph = graph or self.graph
        return {name: self._real(name, graph[name].value) for name in self.names}

    def train(
        self,
        values: Mapping[str, Floats],
        x: Array,
        labels: Array,
        order: Array,
        optimizer: Optimizer,
        scaled: bool = True,
    ) -> dict[str, Floats]:
        """x: int8 [n, …input shape]; order: the sample of each step; returns the new values.

        optimizer: rate, schedule, accumulate and skip_below of it.

        scaled: False takes the steps of SGD in units of the integer codes, for which W = s · code
        has the gradient s · G: a step of code is s · G, one of W is s² · G, times a rate that is
        the same for all tensors and such that the mean weight moves as with the scaling.
        """
        tf = self.tf
        start = [tf.constant(values[name]) for name in self.names]
        samples = tf.constant(x.reshape(len(x), *self.graph[self.graph.inputs[0]].shape[1:]))
        found = self._train(
            start,
            samples,
            tf.constant(labels, tf.int32),
            tf.constant(order, tf.int32),
            tf.constant([learning_rate(optimizer, i) for i in range(len(order))], tf.float32),
            tf.constant(optimizer.accumulate, tf.int32),
            tf.constant(optimizer.skip_below, tf.float32),
            [tf.constant(speed, tf.float32) for speed in self._speeds(scaled)],
        )
        return {name: value.numpy() for name, value in zip(self.names, found, strict=True)}

    def classify(self, values: Mapping[str, Floats], x: Array, batch: int = 64) -> Array:
        """The class of each sample."""
        tf = self.tf
        now = [tf.constant(values[name]) for name in self.names]
        x = x.reshape(len(x), *self.graph[self.graph.inputs[0]].shape[1:])
        parts = [
            self._classify(tf.constant(x[at : at + batch]), now).numpy()
            for at in range(0, len(x), batch)
        ]
        return np.concatenate(parts)

    def _steps(
        self,
        values: list[Tensor],
        x: Tensor,
        labels: Tensor,
        order: Tensor,
        rates: Tensor,
        accumulate: Tensor,
        skip_below: Tensor,
        speeds: list[Tensor],
    ) -> list[Tensor]:
        tf = self.tf
        zeros = [tf.zeros_like(value) for value in values]

        def gradients(at: Tensor, now: list[Tensor]) -> list[Tensor]:
            sample, label = x[order[at]][None], labels[order[at]]
            with tf.GradientTape() as tape:
                tape.watch(now)
                row = self._run(sample, now)[0]
                loss = tf.nn.sparse_softmax_cross_entropy_with_logits(label, row)
            error = tf.nn.softmax(row) - tf.one_hot(label, tf.size(row))
            certain = tf.reduce_max(tf.abs(error)) < skip_below
            found = tf.cond(certain, lambda: zeros, lambda: tape.gradient(loss, now))
            return [tf.ensure_shape(g, value.shape) for g, value in zip(found, now, strict=True)]

        def step(at: Tensor, now: list[Tensor], sums: list[Tensor]) -> tuple[Any, ...]:
            found = gradients(at, now)
            share = rates[at] / tf.cast(accumulate, tf.float32)
            sums = [total + share * g for total, g in zip(sums, found, strict=True)]
            change = tf.where(tf.equal((at + 1) % accumulate, 0), 1.0, 0.0)
            now = [
                value - change * speed * total
                for value, total, speed in zip(now, sums, speeds, strict=True)
            ]
            keep = 1.0 - change
            return at + 1, now, [total * keep for total in sums]

        _, now, _ = tf.while_loop(
            lambda at, *_: at < tf.size(order),
            step,
            (tf.constant(0), values, zeros),
            parallel_iterations=1,
        )
        return list(now)

    def _speeds(self, scaled: bool) -> list[Array]:
        """What each trained tensor's rate is multiplied by, in a shape that broadcasts to it."""
        if scaled:
            return [np.ones(1) for _ in self.names]
        squares = [self._codes_worth(name) ** 2 for name in self.names]
        weights = [
            np.broadcast_to(square, self.graph[name].shape).reshape(-1)
            for name, square in zip(self.names, squares, strict=True)
            if self.graph[name].dtype == "int8"
        ]
        mean = float(np.concatenate(weights).mean())
        return [square / mean for square in squares]

    # --- the network ------------------------------------------------------------------------------

    def _real(self, name: str, codes: Array) -> Floats:
        """What integers are worth; weights and biases have zero point 0."""
        zero = 0 if codes.dtype == np.int32 else self.graph[name].quant.zero_point0
        return np.asarray((codes.astype(np.float64) - zero) * self._codes_worth(name), np.float32)

    def _codes_worth(self, name: str) -> Array:
        """Weights by their own scales; biases by those of their layer's input and weights."""
        tensor = self.graph[name]
        if tensor.dtype == "int32":
            op = next(op for op in self.graph.ops if len(op.inputs) > 2 and op.inputs[2] == name)
            return self._steps_of_bias(op)
        scale = np.array(tensor.quant.scale)
        if len(scale) > 1:
            shape = [1] * len(tensor.shape)
            shape[tensor.quant.axis or 0] = len(scale)
            scale = scale.reshape(shape)
        return scale

    def _steps_of_bias(self, op: Op) -> Array:
        blocks = [self.graph[name].quant for name in (op.inputs[1], *op.inputs[3:4]) if name]
        scales = np.array(blocks[0].scale)
        if op.kind == "depthwise_conv2d" and blocks[0].axis is not None:
            scales = np.concatenate([block.scale for block in blocks])
        return np.asarray(self.graph[op.inputs[0]].quant.scale0 * scales)

    def _run(self, codes: Tensor, now: list[Tensor]) -> Tensor:
        """Logits [batch, classes] of int8 samples."""
        tf, graph = self.tf, self.graph
        first = graph[graph.inputs[0]]
        x = (tf.cast(codes, tf.float32) - first.quant.zero_point0) * first.quant.scale0
        trained = dict(zip(self.names, now, strict=True))
        values: dict[str, Tensor] = {first.name: x}

        def value(name: str) -> Tensor:
            """An activation, a trained tensor, or a constant."""
            if name in values:
                return values[name]
            if name in trained:
                return trained[name]
            return tf.constant(self._real(name, graph[name].value))

        for op in graph.ops:
            name = op.outputs[0]
            rule = getattr(self, f"_{op.kind}", None)
            if rule is None:
                raise ModelError(f"{op.name}: {op.kind} has no float counterpart here")
            values[name] = rule(op, value)
            if name == self.logits:
                return tf.reshape(values[name], [-1, graph[name].size])
            if op.kind not in ("reshape", "pad"):
                values[name] = self._clamped(op, values[name])
        raise ModelError(f"{graph.name}: its logits {self.logits} are never made")

    def _clamped(self, op: Op, x: Tensor) -> Tensor:
        quant = self.graph[op.outputs[0]].quant
        low, high = ((end - quant.zero_point0) * quant.scale0 for end in (-128, 127))
        activation = getattr(op.attributes, "activation", "none")
        if activation != "none" or op.kind in ("relu", "relu6"):
            low = max(low, 0.0)
        if "relu6" in (activation, op.kind):
            high = min(high, 6.0)
        return self.tf.clip_by_value(x, low, high)

    def _weights(self, op: Op, value: Any) -> Tensor:
        blocks = [value(name) for name in (op.inputs[1], *op.inputs[3:4]) if name]
        return blocks[0] if len(blocks) == 1 else self.tf.concat(blocks, -1)

    def _biased(self, op: Op, x: Tensor, value: Any) -> Tensor:
        return x + value(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] else x

    def _padded(self, op: Op, value: Any) -> Tensor:
        top, bottom, left, right = op.attributes.padding  # type: ignore[attr-defined]
        x = value(op.inputs[0])
        if not any((top, bottom, left, right)):
            return x
        return self.tf.pad(x, [[0, 0], [top, bottom], [left, right], [0, 0]])

    def _conv2d(self, op: Op, value: Any) -> Tensor:
        attributes: Any = op.attributes
        kernel = self.tf.transpose(self._weights(op, value), [1, 2, 3, 0])
        x = self.tf.nn.conv2d(
            self._padded(op, value), kernel, attributes.stride, "VALID",
            dilations=attributes.dilation,
        )  # fmt: skip
        return self._biased(op, x, value)

    def _depthwise_conv2d(self, op: Op, value: Any) -> Tensor:
        tf, attributes = self.tf, op.attributes
        weights, x = self._weights(op, value), self._padded(op, value)
        _, height, width, outputs = weights.shape
        channels = x.shape[-1]
        kernel = tf.reshape(weights, [height, width, channels, outputs // channels])
        stride = max(attributes.stride)  # type: ignore[attr-defined]
        down, right = attributes.stride  # type: ignore[attr-defined]
        if down != right and (height, width)[down > right] != x.shape[1 + (down > right)]:
            raise ModelError(f"{op.name}: strides {down} and {right} have no float counterpart")
        x = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "VALID")
        return self._biased(op, x, value)

    def _fully_connected(self, op: Op, value: Any) -> Tensor:
        weights = self._weights(op, value)
        x = self.tf.reshape(value(op.inputs[0]), [-1, weights.shape[-1]])
        return self._biased(op, self.tf.linalg.matmul(x, weights, transpose_b=True), value)

    def _add(self, op: Op, value: Any) -> Tensor:
        return value(op.inputs[0]) + value(op.inputs[1])

    def _mean(self, op: Op, value: Any) -> Tensor:
        attributes: Any = op.attributes
        return self.tf.reduce_mean(value(op.inputs[0]), attributes.axes, attributes.keep_dims)

    def _average_pool2d(self, op: Op, value: Any) -> Tensor:
        return self._pooled(op, value, self.tf.nn.avg_pool2d, "average")

    def _max_pool2d(self, op: Op, value: Any) -> Tensor:
        return self._pooled(op, value, self.tf.nn.max_pool2d, "maximum")

    def _pooled(self, op: Op, value: Any, pool: Any, what: str) -> Tensor:
        attributes: Any = op.attributes
        if any(attributes.padding):
            raise ModelError(f"{op.name}: a padded {what} has no float counterpart here")
        return pool(value(op.inputs[0]), attributes.kernel, attributes.stride, "VALID")

    def _reshape(self, op: Op, value: Any) -> Tensor:
        return self.tf.reshape(value(op.inputs[0]), [-1, *self.graph[op.outputs[0]].shape[1:]])

    def _relu(self, op: Op, value: Any) -> Tensor:
        return value(op.inputs[0])

    _relu6 = _quantize = _relu
