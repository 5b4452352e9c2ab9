"""Gradients of another type than int16: int8 (half the SRAM), and float32 for comparison.

The operators are those of int16 gradients under other names, "_s8" or "_f32" behind them; real
mode is inherited.  int8: exact integer sums, rounded once to nearest, |gradient| <= 127.  float32:
products and sums one by one in the order in which the C makes them, tap by tap, then output channel
by output channel; updates sum in float32, then round the sum to an int32 with a calibrated
exponent, from which on they are those of integer gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.activation_grad import ActivationGrad
from tinykit.ops.average_pool_grad import (
    RECIPROCAL_BITS,
    AveragePoolGrad,
    PoolGradAttributes,
    window_counts,
)
from tinykit.ops.base import Address, Call, Field, Operator, Struct
from tinykit.ops.bias_update import BiasUpdate
from tinykit.ops.conv2d_input_grad import Conv2DInputGrad, InputGradAttributes
from tinykit.ops.conv2d_update import Conv2DUpdate
from tinykit.ops.depthwise_input_grad import DepthwiseInputGrad
from tinykit.ops.depthwise_update import DepthwiseUpdate
from tinykit.ops.evaluate import Run, Step
from tinykit.ops.gradient_add import GradientAdd
from tinykit.ops.gradient_arithmetic import gradient_shift, shift_round
from tinykit.ops.layer_scales import MULTIPLIER_BITS
from tinykit.ops.update import Units, UpdateAttributes, apply_update, units, update_struct
from tinykit.ops.weight_update import WeightUpdate, WeightUpdateAttributes
from tinykit.ops.window import Window

Suffix = Literal["s8", "f32"]
F = np.float32
BITS = {"int8": 6, "int16": 11, "float32": 0}  # of the largest gradient that calibration has seen
SUM_BITS = 26  # likewise, of a float32 sum as an update's accumulator
SUM_LIMIT = 2**30


def _settled(run: Run, acc: Array, shift: int, shape: tuple[int, ...], suffix: Suffix) -> Array:
    """Sums as gradients."""
    if suffix == "f32":
        return acc.astype(np.float32, copy=False).reshape(shape)
    rounded = shift_round(np.rint(acc), shift)
    kept = np.clip(rounded, -127, 127)
    run.step.saturations += int(np.count_nonzero(kept != rounded))
    return np.asarray(kept.astype(np.int8).reshape(shape))


def _collected(acc: Array, exponent: int, step: Step) -> Array:
    """float32 sums to int32, in units of 2**exponent."""
    with np.errstate(over="ignore"):
        scaled = acc * F(math.ldexp(1.0, -exponent))
    inside = (scaled > -SUM_LIMIT) & (scaled < SUM_LIMIT)
    step.saturations += int(np.count_nonzero(~inside))
    rounded = np.where(inside, scaled, 0) + np.where(scaled < 0, F(-0.5), F(0.5))
    ends = np.where(scaled > 0, SUM_LIMIT, -SUM_LIMIT)
    return np.asarray(np.where(inside, np.trunc(rounded).astype(np.int64), ends))


def _scatter(window: Window, parts: Iterator[tuple[int, int, Array]], size: Any) -> Array:
    """Adds float32 maps [OH, OW, C] where the taps (ky, kx) of a window lie, one after another."""
    (height, width, channels), (top, bottom, left, right) = size, window.padding
    out = np.zeros((height + top + bottom, width + left + right, channels), F)
    rows, columns = window._indices(height, width)
    for ky, kx, part in parts:
        out[np.ix_(rows[:, ky], columns[:, kx])] += part
    return out[top : top + height, left : left + width]


class _InputGrad:
    """What both kinds of layers share."""

    suffix: Suffix

    def overwrites(self, graph: Graph, op: Op) -> int | None:
        return None

    def _sums_shift(self, graph: Graph, op: Op) -> int:
        """Right shift from sums of gradient * m * weight."""
        assert isinstance(op.attributes, InputGradAttributes)
        exponent = graph[op.inputs[0]].quant.exponent - MULTIPLIER_BITS
        exponent += op.attributes.scales.weight_exponent
        return gradient_shift(op.name, graph[op.outputs[0]].quant.exponent, exponent)

    def _sums(self, op: Op, run: Run) -> Array:
        """[H, W, C]: exact in float64, or float32 in the order of the C."""
        attributes = op.attributes
        assert isinstance(attributes, InputGradAttributes)
        depthwise = op.kind.startswith("depthwise")
        weights, scales = run.joined(op.inputs[1], op.inputs[2]), attributes.scales
        kh, kw = attributes.window.kernel
        channels, outputs = attributes.shape[-1], run[op.inputs[0]].shape[-1]
        gradient = run[op.inputs[0]].reshape(*attributes.output_size, outputs)
        number: Any = F if self.suffix == "f32" else np.float64
        factors: Any = scales.channel_multipliers().astype(np.float64)
        if self.suffix == "f32":
            factors = scales.real() * F(scales.output / scales.input)
        scaled: Any = gradient.astype(number) * factors
        weights = weights.astype(number)

        def parts() -> Iterator[tuple[int, int, Array]]:
            for tap in range(kh * kw):
                ky, kx = divmod(tap, kw)
                if depthwise:
                    multiplier = outputs // channels
                    for k in range(multiplier):
                        own = slice(k, None, multiplier)
                        yield ky, kx, scaled[..., own] * weights[0, ky, kx, own]
                elif self.suffix == "s8":
                    yield ky, kx, scaled @ weights[:, ky, kx]
                else:
                    for o in range(outputs):
                        yield ky, kx, scaled[..., o, None] * weights[o, ky, kx]

        if weights.ndim == 2:  # a fully connected layer
            weights = weights[:, None, None]
        size = (*attributes.input_size, channels)
        if self.suffix == "f32":
            return _scatter(attributes.window, parts(), size)
        total = np.zeros(size)
        for ky, kx, part in parts():
            patches = np.zeros((*part.shape[:2], kh, kw, channels))
            patches[:, :, ky, kx] = part
            total = total + attributes.window.scatter(patches, *attributes.input_size)
        return total

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = op.attributes
        assert isinstance(attributes, InputGradAttributes)
        gradient, result, weights = (graph[n] for n in (op.inputs[0], op.outputs[0], op.inputs[1]))
        scales, f32 = attributes.scales, self.suffix == "f32"
        outputs, channels = gradient.shape[-1], result.shape[-1]
        depthwise = op.kind.startswith("depthwise")
        fields: dict[str, Field] = {
            "window": attributes.window.struct(attributes.input_size, attributes.output_size),
            "weights": Address(weights.name),
            "weights_rest": Address(op.inputs[2]) if op.inputs[2] else None,
            **scales.fields(),
            "update": None,
            "scale": scales.output / scales.input if f32 else scales.channel_constant,
            "input_channels": channels,
            "split": weights.shape[-1],
            "output_channels": outputs,
            "depth_multiplier": outputs // channels if depthwise else 0,
            "input_zero_point": 0,
            "shift": 0 if f32 else self._sums_shift(graph, op),
        }
        arguments = (gradient.name, result.name, "$scratch", "$trainer")
        scratch = (4 if f32 else 2) * outputs
        function = f"tk_plain_input_grad_{self.suffix}"
        struct = Struct("tk_plain_layer", fields)
        return (Call(function, struct, arguments, (scratch + 3) // 4 * 4),)


class _ConvolutionGrad(_InputGrad, Conv2DInputGrad):
    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        if run.real:
            return super().evaluate(op, run)
        return (_input_gradient(self, op, run),)


class _DepthwiseGrad(_InputGrad, DepthwiseInputGrad):
    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        if run.real:
            return super().evaluate(op, run)
        return (_input_gradient(self, op, run),)


def _input_gradient(rule: _InputGrad, op: Op, run: Run) -> Array:
    shift = 0 if rule.suffix == "f32" else rule._sums_shift(run.graph, op)
    return _settled(run, rule._sums(op, run), shift, run.graph[op.outputs[0]].shape, rule.suffix)


class _Update:
    """What the updates share: the exponent of sums, and the descriptor."""

    suffix: Suffix

    def _accumulator(self, graph: Graph, op: Op, pixels: int, largest: int) -> tuple[int, float]:
        """(shift of sums to accumulators, gradient by accumulator before what sums leave out)."""
        assert isinstance(op.attributes, UpdateAttributes)
        if self.suffix == "f32":
            exponent = op.attributes.sum_exponent
            return -exponent, math.ldexp(1.0, exponent)
        fold = max(0, (pixels * 128 * largest).bit_length() - 31)
        return fold, graph[op.inputs[0]].quant.scale0 * 2.0**fold

    def _acc(self, sums: Array, shift: int, step: Step) -> Array:
        if self.suffix == "f32":
            return _collected(sums, -shift, step)
        return shift_round(np.rint(sums), shift)

    def _struct(self, op: Op, unit: Units, shift: int, fields: dict[str, Field]) -> Struct:
        assert isinstance(op.attributes, UpdateAttributes)
        blank: dict[str, Field] = {
            "weights": None,
            "weights_rest": None,
            "multiplier": None,
            "multiplier_shift": None,
            "per_channel": 0,
            "scale": 0.0,
            "input_channels": 0,
            "split": 0,
            "depth_multiplier": 0,
            "input_zero_point": 0,
        }
        update = update_struct(op, unit, op.attributes, always_state=True)
        return Struct("tk_plain_layer", {**blank, **fields, "update": update, "shift": shift})


class _WeightUpdate(_Update, WeightUpdate):
    def _settings(self, graph: Graph, op: Op) -> tuple[int, Units]:
        attributes: WeightUpdateAttributes = self.attributes(op)
        scales, pixels = attributes.scales, math.prod(attributes.output_size)
        shift, gradient = self._accumulator(graph, op, pixels, 255)
        change = scales.input * units(op) / scales.output
        return shift, Units(scales.input * gradient, change)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        graph, attributes = run.graph, self.attributes(op)
        if run.real:
            results = super().evaluate(op, run)
            gradient = run.gradients[op.inputs[2]]
            apart = (run.step.normalisation or 1.0) * graph[op.inputs[1]].quant.scale0
            run.peaks[op.name] = float(np.abs(gradient).max(initial=0.0)) / apart
            return results
        quant = graph[op.inputs[1]].quant
        x = (run[op.inputs[1]].astype(np.int32) - quant.zero_point0).astype(np.float64)
        x = x.reshape(*attributes.input_size, -1)
        shift, unit = self._settings(graph, op)
        sums = self.sums(op, run, x) if self.suffix == "s8" else self._float_sums(op, run, x)
        scale = graph[op.inputs[0]].quant.scale0
        run.gradients[op.inputs[2]] = (
            sums.astype(np.float64) * scale * quant.scale0 * run.step.normalisation
        )
        acc = self._acc(sums, shift, run.step)
        return apply_update(op, run, acc, unit, attributes, self.axis)

    def _float_sums(self, op: Op, run: Run, x: Array) -> Array:
        """Pixel by pixel, float32."""
        attributes, trained = self.attributes(op), run[op.inputs[2]]
        gradient = run[op.inputs[0]].reshape(math.prod(attributes.output_size), -1)
        depthwise = op.kind.startswith("depthwise")
        if depthwise:
            x = np.repeat(x, gradient.shape[-1] // x.shape[-1], axis=2)
        patches = attributes.window.patches(x[..., : trained.shape[-1]]).astype(F)
        patches = patches.reshape(len(gradient), *patches.shape[2:])
        total = np.zeros((1, *patches.shape[1:]) if depthwise else
                         (gradient.shape[-1], *patches.shape[1:]), F)  # fmt: skip
        for g, patch in zip(gradient, patches, strict=True):
            if depthwise:
                total[0] += g[: trained.shape[-1]] * patch
            else:
                total += g[:, None, None, None] * patch
        return total.reshape(trained.shape)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        shift, unit = self._settings(graph, op)
        channels, outputs = graph[op.inputs[1]].shape[-1], graph[op.inputs[0]].shape[-1]
        depthwise = op.kind.startswith("depthwise")
        fields: dict[str, Field] = {
            "window": attributes.window.struct(attributes.input_size, attributes.output_size),
            "input_channels": channels,
            "split": graph[op.inputs[2]].shape[-1],
            "output_channels": outputs,
            "depth_multiplier": outputs // channels if depthwise else 0,
            "input_zero_point": graph[op.inputs[1]].quant.zero_point0,
        }
        function = f"tk_plain_weight_update_{self.suffix}"
        arguments = (op.inputs[0], op.inputs[1], "$trainer")
        return (Call(function, self._struct(op, unit, shift, fields), arguments),)


class _BiasUpdate(_Update, BiasUpdate):
    def _settings(self, graph: Graph, op: Op) -> tuple[int, Units]:
        tensor = graph[op.inputs[0]]
        shift, gradient = self._accumulator(graph, op, tensor.size // tensor.shape[-1], 1)
        return shift, Units(gradient, units(op) / self.attributes(op).scales.output)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        if run.real:
            results = super().evaluate(op, run)
            peak = np.abs(run.gradients[op.inputs[1]]).max(initial=0.0)
            run.peaks[op.name] = float(peak) / (run.step.normalisation or 1.0)
            return results
        shift, unit = self._settings(run.graph, op)
        rows = run[op.inputs[0]].reshape(-1, run[op.inputs[0]].shape[-1])
        sums: Array = np.zeros(rows.shape[-1], F if self.suffix == "f32" else np.float64)
        for row in rows:
            sums = sums + row
        scale = run.graph[op.inputs[0]].quant.scale0
        run.gradients[op.inputs[1]] = sums.astype(np.float64) * scale * run.step.normalisation
        acc = self._acc(sums, shift, run.step)
        return apply_update(op, run, acc, unit, self.attributes(op))

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        super().lower(graph, op)  # refuses maps that are too large
        tensor = graph[op.inputs[0]]
        shift, unit = self._settings(graph, op)
        pixels = (tensor.size // tensor.shape[-1], 1)
        fields: dict[str, Field] = {
            "window": Window((1, 1)).struct(pixels, pixels),
            "output_channels": tensor.shape[-1],
        }
        function = f"tk_plain_bias_update_{self.suffix}"
        struct = self._struct(op, unit, shift, fields)
        return (Call(function, struct, (op.inputs[0], "$trainer")),)


class _Activation(ActivationGrad):
    suffix: Suffix

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        (call,) = super().lower(graph, op)
        function = call.function.replace("tk_", "tk_plain_", 1) + f"_{self.suffix}"
        return (Call(function, call.descriptor, call.arguments),)


class _Add(GradientAdd):
    suffix: Suffix

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        a, b = (run[name] for name in op.inputs)
        if run.real or self.suffix == "f32":
            return (a + b,)
        low, shift_a, shift_b = self._exponents(run.graph, op)
        acc = (a.astype(np.int64) << shift_a) + (b.astype(np.int64) << shift_b)
        shift = gradient_shift(op.name, run.graph[op.outputs[0]].quant.exponent, low)
        return (_settled(run, acc, shift, a.shape, self.suffix),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        (call,) = super().lower(graph, op)
        arguments = call.arguments if self.suffix == "s8" else call.arguments[:-1]
        return (Call(f"tk_plain_add_{self.suffix}", call.descriptor, arguments),)


class _Average(AveragePoolGrad):
    suffix: Suffix

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        if run.real:
            return super().evaluate(op, run)
        attributes: PoolGradAttributes = self.attributes(op)
        counts = window_counts(attributes)[..., None]
        gradient = run[op.inputs[0]].reshape(*counts.shape[:2], attributes.channels)
        if self.suffix == "f32":
            spread = gradient / counts.astype(F)
            taps = np.ndindex(*attributes.window.kernel)
            parts = ((ky, kx, spread) for ky, kx in taps)
            size = (*attributes.input_size, attributes.channels)
            return (_scatter(attributes.window, parts, size).reshape(attributes.shape),)
        spread = gradient * np.floor(2**RECIPROCAL_BITS / counts + 0.5)
        shape = (*counts.shape[:2], *attributes.window.kernel, attributes.channels)
        patches = np.broadcast_to(spread[:, :, None, None, :], shape)
        acc = attributes.window.scatter(patches, *attributes.input_size)
        shift = self._shift(run.graph, op)
        return (_settled(run, acc, shift, attributes.shape, self.suffix),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        (call,) = super().lower(graph, op)
        assert call.descriptor is not None
        fields = dict(call.descriptor.fields)
        if self.suffix == "f32":
            fields["shift"] = 0
        struct = Struct("tk_pool_grad", fields)
        return (Call(f"tk_plain_average_grad_{self.suffix}", struct, call.arguments),)


@dataclass(frozen=True)
class ConvertAttributes(Attributes):
    pass


class _Convert(Operator[ConvertAttributes]):
    """The loss's gradient in the type of the others."""

    suffix: Suffix

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def _shift(self, graph: Graph, op: Op) -> int:
        exponent = graph[op.inputs[0]].quant.exponent
        if self.suffix == "f32":
            return -exponent
        return gradient_shift(op.name, graph[op.outputs[0]].quant.exponent, exponent)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        x, shift = run[op.inputs[0]], self._shift(run.graph, op)
        if run.real:
            return (x,)
        if self.suffix == "f32":
            return (x.astype(F) * F(math.ldexp(1.0, -shift)),)
        return (_settled(run, x, shift, x.shape, self.suffix),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        fields: dict[str, Field] = {
            "size": graph[op.inputs[0]].size,
            "shift": self._shift(graph, op),
        }
        arguments = (op.inputs[0], op.outputs[0], *(["$trainer"] if self.suffix == "s8" else []))
        struct = Struct("tk_plain_convert", fields)
        return (Call(f"tk_plain_convert_{self.suffix}", struct, arguments),)


def _of(base: type[Any], kind: str, suffix: Suffix, *others: type[Any]) -> Operator[Any]:
    made: Operator[Any] = type(
        base.__name__,
        (base, *others),
        {"kind": f"{kind}_{suffix}", "suffix": suffix, "__module__": __name__},
    )()
    return made


CONVERT = "gradient_convert"
SUFFIXES: dict[str, Suffix] = {"int8": "s8", "float32": "f32"}
OPERATORS = tuple(
    _of(base, kind, suffix, *others)
    for suffix in SUFFIXES.values()
    for kind, base, *others in (
        ("conv2d_input_grad", _ConvolutionGrad),
        ("depthwise_input_grad", _DepthwiseGrad),
        ("conv2d_update", _WeightUpdate, Conv2DUpdate),
        ("depthwise_update", _WeightUpdate, DepthwiseUpdate),
        ("bias_update", _BiasUpdate),
        ("activation_grad", _Activation),
        ("gradient_add", _Add),
        ("average_pool_grad", _Average),
        (CONVERT, _Convert),
    )
)
