"""What the estimators' files build graphs with: inputs, constants, dense layers, ranges.

Between operators every feature of a tensor [1, F] has an affine meaning of its own, real = scale *
code + offset; the constants of whatever reads it take that in.  So all these tensors are declared
alike: codes / 128 (tinykit.ops.features).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op, Quantization, Tensor
from tinykit.ops.features import SCALE
from tinykit.ops.fully_connected import FullyConnectedAttributes
from tinykit.ops.registry import check_shapes

CODES = Quantization.per_tensor(SCALE, 0)
PROBABILITY = Quantization.per_tensor(1 / 256, -128)
FARTHEST = 2**22  # zero point: codes are computed in float32
MARGIN = 1 / 16  # of the range of a regression, beyond what the samples show
# Steps added to a decision, so that its code is above 0 if and only if the decision is.
POSITIVE = 0.5 - 2**-10


@dataclass(frozen=True)
class Values:
    """An int8 tensor [1, F]: real = scale * code + offset by feature; samples [n, F] are real."""

    name: str
    scale: Array
    offset: Array
    samples: Array

    def codes(self, real: Array) -> Array:
        """Real rows [n, F] as int8."""
        return np.clip(np.rint((real - self.offset) / self.scale), -128, 127).astype(np.int8)


@dataclass(frozen=True)
class Refusal:
    """Words for what cannot be imported: every error names estimator, parameter, and what can."""

    estimator: str

    def require(self, holds: bool, parameter: str, value: object, supported: str) -> None:
        """Raise ModelError unless it holds."""
        if not holds:
            shown = repr(value)
            shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
            raise ModelError(
                f"{self.estimator}: {parameter} = {shown} is not supported",
                f"supported: {supported}",
            )


@dataclass
class Builder:
    """A graph that grows."""

    name: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def graph(self, output: str) -> Graph:
        """Checked; `output` is the tensor that the model makes."""
        graph = Graph(self.name, self.tensors, tuple(self.ops), ("input",), (output,))
        return check_shapes(graph.pruned())

    def constant(self, name: str, value: Array) -> str:
        """Integers for flash."""
        dtype: Any = value.dtype.name
        self.tensors[name] = Tensor(name, value.shape, dtype, None, "flash", value)
        return name

    def operation(
        self,
        kind: str,
        inputs: tuple[str, ...],
        size: int,
        quantization: Quantization,
        attributes: Attributes | None = None,
        name: str = "",
    ) -> str:
        """An op with one output int8 [1, size]; the output's name."""
        name = name or kind
        output = f"{name}/out"
        self.tensors[output] = Tensor(output, (1, size), "int8", quantization)
        op = Op(kind, name, inputs, (output,), attributes or Attributes(), layer=name)
        self.ops.append(op)
        return output

    def input(self, factor: Array, shift: Array, low: Array, high: Array, common: bool) -> Values:
        """The model's input x [1, F], to be read as factor * x + shift, each in low … high [F].

        common: all features then have one scale.
        """
        width = np.where(high > low, high - low, 1.0)
        steps = np.full_like(width, width.max() / 255) if common else width / 255
        scale = (steps / factor).astype(np.float32).astype(np.float64)
        middle = ((low + high) / 2 - shift) / factor
        zero_point = np.rint(-0.5 - middle / scale)
        if np.abs(zero_point).max() > FARTHEST:
            worst = int(np.abs(zero_point).argmax())
            raise ModelError(
                f"feature {worst} varies by {255 * scale[worst]:.3g} around {middle[worst]:.7g}",
                "subtract a constant from it first: float32 is too coarse there",
            )
        size = len(scale)
        quantization = Quantization(
            tuple(map(float, scale)), tuple(map(int, zero_point)), 1 if size > 1 else None
        )
        self.tensors["input"] = Tensor("input", (1, size), "int8", quantization)
        codes = self.operation("features", ("input",), size, CODES)
        real = factor * scale
        return Values(codes, real, shift - real * zero_point, np.empty((0, size)))

    def dense(
        self,
        values: Values,
        weights: Array,
        bias: Array,
        quantization: Quantization,
        name: str = "linear",
    ) -> str:
        """weights [O, F] @ real + bias [O], by FULLY_CONNECTED; the output's name."""
        scaled = weights * values.scale / SCALE
        constant = bias + weights @ values.offset
        # A channel's scale lets its weights fit int8 and its bias int32.
        least = np.maximum(np.abs(constant) / (2.0**30 * SCALE), 1e-30)
        scale = np.maximum(np.abs(scaled).max(axis=1) / 127, least).astype(np.float32)
        scale = scale.astype(np.float64)
        codes = np.rint(scaled / scale[:, None]).astype(np.int8)
        biases = np.rint(constant / (scale * SCALE)).astype(np.int32)
        channels = Quantization(tuple(map(float, scale)), (0,) * len(scale), 0)
        if len(scale) == 1:
            channels = Quantization.per_tensor(float(scale[0]))
        w, b = f"{name}/weights", f"{name}/bias"
        self.tensors[w] = Tensor(w, codes.shape, "int8", channels, "flash", codes, "pairs")
        self.tensors[b] = Tensor(b, biases.shape, "int32", None, "flash", biases)
        attributes = FullyConnectedAttributes()
        inputs = (values.name, w, b)
        return self.operation("fully_connected", inputs, len(scale), quantization, attributes, name)

    def affine(
        self, values: Values, weights: Array, bias: Array, common: bool, name: str
    ) -> Values:
        """The same as values that another step reads: each output fills its 8 bits.

        common: all outputs have one scale.
        """
        samples = values.samples @ weights.T + bias
        low, high = samples.min(axis=0), samples.max(axis=0)
        width = np.where(high > low, high - low, 1.0)
        scale = np.full_like(width, width.max() / 255) if common else width / 255
        middle = (low + high + scale) / 2  # of the codes -128 … 127
        unit = scale / SCALE
        output = self.dense(values, weights / unit[:, None], (bias - middle) / unit, CODES, name)
        return Values(output, scale, middle, samples)


def interval(low: float, high: float) -> Quantization:
    """int8 for all of low … high."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    scale = float(np.float32((high - low) / 255))
    return Quantization.per_tensor(scale, round(-128 - low / scale))


def regression(predictions: Array) -> Quantization:
    """int8 for what a regression predicted for the samples, and a little more."""
    low, high = float(predictions.min()), float(predictions.max())
    margin = MARGIN * (high - low)
    return interval(low - margin, high + margin)


def symmetric(decisions: Array, limit: float = np.inf) -> Quantization:
    """int8 for decisions whose sign counts: zero point 0."""
    largest = min(float(np.abs(decisions).max(initial=0.0)), limit) or 1.0
    return Quantization.per_tensor(float(np.float32(largest / 127)), 0)


def logits(scores: Array, depth: float = 8.0) -> Quantization:
    """int8 for scores [n, C] of which the largest counts: not far below any sample's best."""
    best = scores.max(axis=1)
    return interval(max(float(scores.min()), float(best.min()) - depth), float(best.max()))
