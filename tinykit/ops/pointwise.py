"""Functions of one int8 code, as tables of 256 bytes: LOGISTIC, TANH, HARD_SWISH …

Each table is computed by the integer or float32 arithmetic of TensorFlow Lite Micro; EXP and GELU,
which that does not have for int8, by that of TensorFlow Lite's reference kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op, Quantization
from tinykit.ops import gemmlowp
from tinykit.ops.base import Call, Field, Operator, Struct, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import (
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_shift_right,
)
from tinykit.ops.lookup_grad import LookupGradAttributes
from tinykit.ops.rows import Reach, Row, RowForm, has_rows

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

F = np.float32
CODES = np.arange(-128, 128)


@dataclass(frozen=True)
class PointwiseAttributes(Attributes):
    """alpha: the slope of LEAKY_RELU below 0, float32; 1 for GELU by tanh, 0 for GELU by erf."""

    alpha: float = 0.0


def int8(codes: Array) -> Array:
    return np.clip(codes, -128, 127).astype(np.int8)


def rescaled(codes: Array, real: float) -> Array:
    """codes * real with TFLite's double rounding."""
    multiplier, shift = quantize_multiplier(real)
    return multiply_by_quantized_multiplier(codes, np.array(multiplier), np.array(shift))


def truncated_multiplier(real: float) -> tuple[int, int]:
    """As `quantize_multiplier`, without its limits (LogisticPrepare, TanhPrepare)."""
    mantissa, shift = math.frexp(real)
    return math.floor(mantissa * 2**31 + 0.5), shift


# --- the arithmetic of TFLM: (input's, output's quantization, alpha) -> int8 [256] ----------------

SIGMOID_BITS = 4  # integer bits of the inputs of LOGISTIC and TANH


def _sigmoid_input(x: Quantization) -> tuple[Array, Array]:
    """(inputs in Q4.27, -1, 0 or 1 where the input lies below, in or above the radius)."""
    multiplier, shift = truncated_multiplier(x.scale0 * (1 << (31 - SIGMOID_BITS)))
    largest = ((1 << SIGMOID_BITS) - 1) * 2.0 ** (31 - SIGMOID_BITS)
    radius = math.floor(largest / 2.0**shift)
    codes = CODES - x.zero_point0
    outside = np.where(codes <= -radius, -1, np.where(codes >= radius, 1, 0))
    inside = np.where(outside == 0, codes, 0)
    return multiply_by_quantized_multiplier(inside, np.array(multiplier), np.array(shift)), outside


def logistic_table(x: Quantization, y: Quantization, alpha: float) -> Array:
    inputs, outside = _sigmoid_input(x)
    inside = rounding_shift_right(gemmlowp.logistic(inputs, SIGMOID_BITS), 31 - 8) - 128
    return int8(np.where(outside == 0, inside, 128 * outside))


def tanh_table(x: Quantization, y: Quantization, alpha: float) -> Array:
    inputs, outside = _sigmoid_input(x)
    inside = rounding_shift_right(gemmlowp.tanh(inputs, SIGMOID_BITS), 31 - 7)
    return int8(np.where(outside == 0, inside, 128 * outside))


def leaky_relu_table(x: Quantization, y: Quantization, alpha: float) -> Array:
    """TFLM makes an integer of a multiplier m by truncating m + 1/2: a negative one comes out one
    nearer to 0 than rounded."""
    codes = CODES - x.zero_point0
    slope = x.scale0 * alpha / y.scale0
    multiplier, shift = quantize_multiplier(slope)
    multiplier += slope < 0
    below = multiply_by_quantized_multiplier(codes, np.array(multiplier), np.array(shift))
    scaled = np.where(codes >= 0, rescaled(codes, x.scale0 / y.scale0), below)
    return int8(scaled + y.zero_point0)


def _int16_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift), the multiplier rounded to 15 bits (DownScaleInt32ToInt16Multiplier)."""
    multiplier, shift = quantize_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, 32767), shift


def _high_multiply16(a: Array, b: Array | int) -> Array:
    """round(a * b / 2^15) of int16, halves upwards, saturating."""
    return np.minimum((a * b + (1 << 14)) >> 15, 32767)


def hard_swish_table(x: Quantization, y: Quantization, alpha: float) -> Array:
    """HardSwish of the reference kernels: int16 fixed point."""
    fine = F(F(1 / 128) * F(x.scale0))
    output, output_shift = _int16_multiplier(float(fine / F(y.scale0)))
    relu, relu_shift = _int16_multiplier(float(fine / F(F(3) / F(32768))))
    value = (CODES - x.zero_point0) << 7
    preshift = _high_multiply16(value, output)
    if relu_shift > 0:
        value = np.clip(value << (relu_shift - 1), -32768, 32767)
    value = _high_multiply16(value, relu)
    if relu_shift > 0:
        value = np.clip(value << 1, -32768, 32767)
    elif relu_shift < 0:
        value = rounding_shift_right(value, -relu_shift)
    value = (value + (1 << 15)) >> 1  # (relu6(x + 3) / 6) in Q0.15
    product = value * preshift
    product = np.minimum(np.where(product >= 0, product >> 15, -(-product >> 15)), 32767)
    return int8(rounding_shift_right(product, -output_shift) + y.zero_point0)


def abs_table(x: Quantization, y: Quantization, alpha: float) -> Array:
    codes = np.abs(CODES - x.zero_point0)
    if x.scale0 != y.scale0:
        codes = rescaled(codes, x.scale0 / y.scale0)
    return int8(codes + y.zero_point0)


def rsqrt_table(x: Quantization, y: Quantization, alpha: float) -> Array:
    """RsqrtEvalQuantized; inputs below 0, which it refuses, are taken as 0: the largest output."""
    more = 20  # fraction bits between the root and the rescaling
    scale = 1.0 / float(np.sqrt(F(x.scale0)) * F(y.scale0))
    multiplier, shift = quantize_multiplier(scale)
    table = np.full(256, 127, np.int8)
    for index, value in enumerate(CODES - x.zero_point0):
        if value > 0:
            root, right = gemmlowp.inverse_square_root(int(value))
            data = multiply_by_quantized_multiplier(
                np.array(1), np.array(root), np.array(more - right)
            )
            code = multiply_by_quantized_multiplier(
                data, np.array(multiplier), np.array(shift - more)
            )
            table[index] = int8(code + y.zero_point0)
    return table


def float_table(function: Callable[[Array], Array]) -> Callable[..., Array]:
    """By float32 of each code, as LUTPopulate does it; `function` is of float64."""

    def table(x: Quantization, y: Quantization, alpha: float) -> Array:
        real = F(x.scale0) * (CODES - x.zero_point0).astype(F)
        with np.errstate(over="ignore"):
            transformed = function(real.astype(np.float64)).astype(F)
            scaled = (transformed * (F(1) / F(y.scale0))).astype(np.float64)
        rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
        return int8(np.clip(rounded, -512, 512) + y.zero_point0)

    return table


def island_table(function: Callable[[Array], Array], x: Quantization, y: Quantization) -> Array:
    """By float32 as DEQUANTIZE, the function and QUANTIZE have it."""
    real = (x.scale0 * (CODES - x.zero_point0)).astype(F)
    scaled = (function(real) / F(y.scale0)).astype(np.float64)
    rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
    return int8(np.clip(rounded, -512, 512) + y.zero_point0)


def elu(x: Array) -> Array:
    """float32 exp(x) - 1, as TFLM has it, not expm1."""
    small = np.exp(np.minimum(x, 0.0)).astype(F) - F(1)
    return np.where(x < 0, small, x)


# --- real functions, for gradients ----------------------------------------------------------------

_erf = np.vectorize(math.erf, otypes=[np.float64])
GELU_SLOPE = math.sqrt(2 / math.pi)


def sigmoid(x: Array) -> Array:
    """exp of negative values only."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, small) / (1 + small))


def gelu(x: Array, by_tanh: bool) -> Array:
    if by_tanh:
        return np.asarray(0.5 * x * (1 + np.tanh(GELU_SLOPE * (x + 0.044715 * x**3))))
    return np.asarray(0.5 * x * (1 + _erf(x / math.sqrt(2))))


def gelu_slope(x: Array, by_tanh: bool) -> Array:
    if by_tanh:
        t = np.tanh(GELU_SLOPE * (x + 0.044715 * x**3))
        inner = GELU_SLOPE * (1 + 3 * 0.044715 * x * x)
        return np.asarray(0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner)
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return np.asarray(0.5 * (1 + _erf(x / math.sqrt(2))) + x * density)


class Pointwise(Operator[PointwiseAttributes]):
    """What the functions below share."""

    note = "int8, by a table of 256 bytes"
    in_place = 0
    flow = "through"
    pointwise = True
    output_quantization: ClassVar[tuple[float, int] | None] = None

    def codes(self, x: Quantization, y: Quantization, alpha: float) -> Array:
        """The int8 outputs for the input codes -128 … 127."""
        raise NotImplementedError

    def real(self, x: Array, alpha: float) -> Array:
        """The function itself, in float64."""
        raise NotImplementedError

    def slope(self, x: Array, alpha: float) -> Array:
        """Its derivative."""
        raise NotImplementedError

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def table(self, graph: Graph, op: Op) -> Array:
        x, y = graph[op.inputs[0]].quant, graph[op.outputs[0]].quant
        return self.codes(x, y, self.attributes(op).alpha)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        return (self.table(run.graph, op)[run[op.inputs[0]].astype(np.int64) + 128],)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, y = graph[op.inputs[0]], op.outputs[0]
        return (lookup_call(Table("int8_t", self.table(graph, op)), x.size, x.name, y),)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        return lookup_rows(graph, self.lower(graph, op)[0])

    def gradient(self, op: Op, tape: Tape) -> None:
        """By the derivative, which is 0 where the rounded output leaves int8."""
        x, y = tape.graph[op.inputs[0]], tape.graph[op.outputs[0]]
        alpha = self.attributes(op).alpha
        reals = (CODES - x.quant.zero_point0) * x.quant.scale0
        with np.errstate(all="ignore"):
            outputs = self.real(reals, alpha) / y.quant.scale0 + y.quant.zero_point0
            inside = (outputs >= -128.5) & (outputs <= 127.5)
            slopes = np.where(inside, self.slope(reals, alpha), 0.0)
        attributes = LookupGradAttributes(tuple(slopes.tolist()))
        gradient = tape.gradient_of(y.name)
        tape.contribute(
            x.name, tape.emit("lookup_grad", op, (gradient, x.name), x.shape, attributes)
        )

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(1, 2))
        x, y = node.input(), node.output()
        if self.output_quantization is not None:
            scale, zero = self.output_quantization
            node.expect(
                (y.quant.scale0, y.quant.zero_point0) == (scale, zero),
                f"output quantized {y.quant.scale0:g}/{y.quant.zero_point0}; "
                f"supported is {scale:g}/{zero}",
            )
        attributes = PointwiseAttributes(self.alpha(node))
        self.check(node, x.quant, y.quant, attributes.alpha)
        return (node.op(self.kind, (x.name,), attributes),)

    def alpha(self, node: TfliteNode) -> float:
        return 0.0

    def check(self, node: TfliteNode, x: Quantization, y: Quantization, alpha: float) -> None:
        """Refuse quantizations that the reference arithmetic refuses."""


def lookup_call(table: Table, size: int, x: str, y: str) -> Call:
    """One byte for each of x, from a table."""
    fields: dict[str, Field] = {"table": table, "size": size}
    return Call("tk_lookup_s8", Struct("tk_lookup", fields), (x, y))


def lookup_rows(graph: Graph, call: Call) -> RowForm | None:
    """The same on a row at a time."""
    x, y = (graph[str(name)] for name in call.arguments)
    if not has_rows(x, y) or call.descriptor is None:
        return None
    fields = {**call.descriptor.fields, "size": x.size // x.shape[1]}
    row = Call(call.function, Struct("tk_lookup", fields), (Row(x.name), Row(y.name)))
    return RowForm(y.shape[1], {x.name: Reach()}, row)


class Logistic(Pointwise):
    kind = "logistic"
    tflite = ("LOGISTIC",)
    note = "int8 to int8 (scale 1/256, zero point -128), by a table of 256 bytes"
    output_quantization = (1 / 256, -128)

    def codes(self, x: Quantization, y: Quantization, alpha: float) -> Array:
        return logistic_table(x, y, alpha)

    def real(self, x: Array, alpha: float) -> Array:
        return sigmoid(x)

    def slope(self, x: Array, alpha: float) -> Array:
        return sigmoid(x) * sigmoid(-x)


class Tanh(Pointwise):
    kind = "tanh"
    tflite = ("TANH",)
    note = "int8 to int8 (scale 1/128, zero point 0), by a table of 256 bytes"
    output_quantization = (1 / 128, 0)

    def codes(self, x: Quantization, y: Quantization, alpha: float) -> Array:
        return tanh_table(x, y, alpha)

    def real(self, x: Array, alpha: float) -> Array:
        return np.tanh(x)

    def slope(self, x: Array, alpha: float) -> Array:
        return 4 * sigmoid(2 * x) * sigmoid(-2 * x)


class LeakyRelu(Pointwise):
    kind = "leaky_relu"
    tflite = ("LEAKY_RELU",)

    def codes(self, x: Quantization, y: Quantization, alpha: float) -> Array:
        return leaky_relu_table(x, y, alpha)

    def real(self, x: Array, alpha: float) -> Array:
        return np.where(x > 0, x, alpha * x)

    def slope(self, x: Array, alpha: float) -> Array:
        return np.where(x > 0, 1.0, alpha)

    def alpha(self, node: TfliteNode) -> float:
        alpha = float(node.options.get("Alpha", 0.0))
        node.expect(math.isfinite(alpha), f"alpha is {alpha:g}")
        return alpha


class HardSwish(Pointwise):
    kind = "hard_swish"
    tflite = ("HARD_SWISH",)

    def codes(self, x: Quantization, y: Quantization, alpha: float) -> Array:
        return hard_swish_table(x, y, alpha)

    def real(self, x: Array, alpha: float) -> Array:
        return x * np.clip(x + 3, 0, 6) / 6

    def slope(self, x: Array, alpha: float) -> Array:
        return np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, (2 * x + 3) / 6))

    def check(self, node: TfliteNode, x: Quantization, y: Quantization, alpha: float) -> None:
        fine = F(F(1 / 128) * F(x.scale0))
        _, shift = quantize_multiplier(float(fine / F(y.scale0)))
        _, relu_shift = quantize_multiplier(float(fine / F(F(3) / F(32768))))
        node.expect(
            -15 <= shift <= 0 and -15 <= relu_shift <= 15,
            f"scales {x.scale0:g} and {y.scale0:g} are out of range",
            "supported are inputs of a scale between 1/256 of the output's and 128 times it",
        )


class Elu(Pointwise):
    kind = "elu"
    tflite = ("ELU",)

    def codes(self, x: Quantization, y: Quantization, alpha: float) -> Array:
        return float_table(elu)(x, y, alpha)

    def real(self, x: Array, alpha: float) -> Array:
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))

    def slope(self, x: Array, alpha: float) -> Array:
        return np.where(x > 0, 1.0, np.exp(np.minimum(x, 0)))


class Abs(Pointwise):
    kind = "abs"
    tflite = ("ABS",)

    def codes(self, x: Quantization, y: Quantization, alpha: float) -> Array:
        return abs_table(x, y, alpha)

    def real(self, x: Array, alpha: float) -> Array:
        return np.abs(x)

    def slope(self, x: Array, alpha: float) -> Array:
        return np.sign(x)


class Neg(Pointwise):
    kind = "neg"
    tflite = ("NEG",)
    note = "in float between DEQUANTIZE and QUANTIZE, as converters write it: a table of 256 bytes"

    def codes(self, x: Quantization, y: Quantization, alpha: float) -> Array:
        return island_table(np.negative, x, y)

    def real(self, x: Array, alpha: float) -> Array:
        return -x

    def slope(self, x: Array, alpha: float) -> Array:
        return np.full(x.shape, -1.0)


class Square(Pointwise):
    kind = "square"
    tflite = ("SQUARE",)
    note = Neg.note

    def codes(self, x: Quantization, y: Quantization, alpha: float) -> Array:
        return island_table(np.square, x, y)

    def real(self, x: Array, alpha: float) -> Array:
        return x * x

    def slope(self, x: Array, alpha: float) -> Array:
        return 2 * x


class Rsqrt(Pointwise):
    kind = "rsqrt"
    tflite = ("RSQRT",)
    note = "int8, by a table of 256 bytes; inputs up to 0 give the largest output"

    def codes(self, x: Quantization, y: Quantization, alpha: float) -> Array:
        return rsqrt_table(x, y, alpha)

    def real(self, x: Array, alpha: float) -> Array:
        return np.where(x > 0, 1 / np.sqrt(np.maximum(x, 1e-300)), np.inf)

    def slope(self, x: Array, alpha: float) -> Array:
        return np.where(x > 0, -0.5 * np.maximum(x, 1e-30) ** -1.5, 0.0)


class Exp(Pointwise):
    kind = "exp"
    tflite = ("EXP",)
    golden = "tflite-runtime"

    def codes(self, x: Quantization, y: Quantization, alpha: float) -> Array:
        return float_table(np.exp)(x, y, alpha)

    def real(self, x: Array, alpha: float) -> Array:
        return np.exp(x)

    slope = real


class Gelu(Pointwise):
    kind = "gelu"
    tflite = ("GELU",)
    golden = "tflite-runtime"

    def codes(self, x: Quantization, y: Quantization, alpha: float) -> Array:
        return float_table(lambda real: gelu(real, alpha == 1))(x, y, alpha)

    def real(self, x: Array, alpha: float) -> Array:
        return gelu(x, alpha == 1)

    def slope(self, x: Array, alpha: float) -> Array:
        return gelu_slope(x, alpha == 1)

    def alpha(self, node: TfliteNode) -> float:
        return float(bool(node.option("Approximate")))


OPERATORS = (
    Logistic(), Tanh(), LeakyRelu(), HardSwish(), Elu(), Abs(), Neg(), Square(), Rsqrt(), Exp(),
    Gelu(),
)  # fmt: skip
