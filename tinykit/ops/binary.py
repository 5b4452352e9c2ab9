"""MUL, SUB, MINIMUM, MAXIMUM, SQUARED_DIFFERENCE and PRELU, with broadcasting; ADD of int16.

Inputs: a, b; the output has NumPy's broadcast shape.  Arithmetic of TensorFlow Lite Micro.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op, Quantization, Tensor
from tinykit.ops.base import Call, Field, Operator, Struct
from tinykit.ops.broadcast import Shape, broadcast_shape, merged_axes, strides, table
from tinykit.ops.convolution_gradient import activation_gradient
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import (
    activation_range,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)
from tinykit.ops.linear_grad import Factor, linear_gradient
from tinykit.ops.lookup_grad import LookupGradAttributes
from tinykit.ops.rows import Reach, Row, RowForm, has_rows

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

SUM_BITS = {"int8": 20, "int16": 15}  # kept by SUB below its inputs' steps, as by ADD
SQUARE_BITS = {"int8": 7, "int16": 0}  # kept by SQUARED_DIFFERENCE


@dataclass(frozen=True)
class BinaryAttributes(Attributes):
    activation: str = "none"


@dataclass(frozen=True)
class Multipliers:
    """(multiplier, shift) of a, of b, of the result; (0, 0) where there is none."""

    output: tuple[int, int]
    a: tuple[int, int] = (0, 0)
    b: tuple[int, int] = (0, 0)
    bits: int = 0  # by which a and b are shifted to the left before


def scaled(x: Array, ratio: tuple[int, int]) -> Array:
    return multiply_by_quantized_multiplier(x, np.array(ratio[0]), np.array(ratio[1]))


class Binary(Operator[BinaryAttributes]):
    """What the operators below share."""

    note = "any broadcasting, fused activations"
    in_place = 0
    function: ClassVar[str] = ""  # of the kernel, where it is not the kind's
    commutes: ClassVar[bool] = False
    compares: ClassVar[bool] = False  # codes as they are: one quantization for all three

    def multipliers(
        self, a: Quantization, b: Quantization, y: Quantization, dtype: str = "int8"
    ) -> Multipliers:
        raise NotImplementedError

    def result(self, a: Array, b: Array, m: Multipliers) -> Array:
        """The output without its zero point, from a and b without theirs."""
        raise NotImplementedError

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        try:
            return (broadcast_shape(*(graph[name].shape for name in op.inputs[:2])),)
        except ModelError as error:
            raise ModelError(f"layer {op.name}: {error.message}") from None

    def channel_flow(self, graph: Graph, op: Op) -> Literal["fixed", "through", "mixes"]:
        a, b = (graph[name] for name in op.inputs[:2])
        same = a.shape == b.shape and not a.constant and not b.constant
        return "through" if same else "fixed"

    def _multipliers(self, graph: Graph, op: Op) -> Multipliers:
        a, b, y = (graph[name] for name in (*op.inputs[:2], op.outputs[0]))
        return self.multipliers(a.quant, b.quant, y.quant, y.dtype)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        graph, y = run.graph, run.graph[op.outputs[0]]
        a, b = (
            run[name].astype(np.int64) - graph[name].quant.zero_point0 for name in op.inputs[:2]
        )
        out = self.result(a, b, self._multipliers(graph, op)) + y.quant.zero_point0
        low, high = activation_range(self.attributes(op).activation, y.quant, y.dtype)
        return (np.clip(out, low, high).astype(np.dtype(y.dtype)).reshape(y.shape),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        a, b, y = (graph[name] for name in (*op.inputs[:2], op.outputs[0]))
        struct = self._struct(graph, op, (a.shape, b.shape, y.shape))
        return (Call(self._function(y), struct, (a.name, b.name, y.name)),)

    def _function(self, y: Tensor) -> str:
        suffix = "s16" if y.dtype == "int16" else "s8"
        return f"tk_{self.function or self.kind}_{suffix}"

    def _struct(self, graph: Graph, op: Op, shapes: tuple[Shape, Shape, Shape]) -> Struct:
        a, b, y = (graph[name].quant for name in (*op.inputs[:2], op.outputs[0]))
        m, dtype = self._multipliers(graph, op), graph[op.outputs[0]].dtype
        low, high = activation_range(self.attributes(op).activation, y, dtype)
        full = shapes[2]
        size, (step_a, step_b) = merged_axes(full, [strides(s, full) for s in shapes[:2]])
        fields: dict[str, Field] = {
            "size": table(size),
            "stride_a": table(step_a),
            "stride_b": table(step_b),
            "multiplier_a": m.a[0],
            "multiplier_b": m.b[0],
            "output_multiplier": m.output[0],
            "shift_a": m.a[1],
            "shift_b": m.b[1],
            "output_shift": m.output[1],
            "activation_min": low,
            "activation_max": high,
        }
        if dtype == "int16":
            return Struct("tk_binary16", fields)
        fields["zero_point_a"] = a.zero_point0
        fields["zero_point_b"] = b.zero_point0
        fields["output_zero_point"] = y.zero_point0
        return Struct("tk_binary", fields)

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        """Inputs of the output's shape go row by row; constants that every row sees stay."""
        y = graph[op.outputs[0]]
        if not has_rows(y):
            return None
        reads: dict[str, Reach] = {}
        arguments: list[str | Row] = []
        shapes: list[Shape] = []
        for name in op.inputs[:2]:
            x = graph[name]
            if x.storage == "arena" and x.shape == y.shape:
                reads[name] = Reach()
                arguments.append(Row(name))
                shapes.append(x.shape[2:])
            elif x.storage != "arena" and (len(x.shape) < 3 or x.shape[-3] == 1):
                arguments.append(name)
                shapes.append(x.shape[-2:])
            else:
                return None
        struct = self._struct(graph, op, (shapes[0], shapes[1], y.shape[2:]))
        call = Call(self._function(y), struct, (*arguments, Row(y.name)))
        return RowForm(y.shape[1], reads, call) if reads else None

    def gradient_in(self, op: Op, tape: Tape) -> str:
        return activation_gradient(op, tape, self.attributes(op).activation)

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(2, 3))
        a, b, y = node.input(0), node.input(1), node.output()
        node.expect(not (a.constant and b.constant), "both inputs are constants")
        try:
            shape = broadcast_shape(a.shape, b.shape)
            merged_axes(shape, [strides(s, shape) for s in (a.shape, b.shape)])
        except ModelError as error:
            raise node.error(error.message) from None
        if self.compares:
            for x in (a, b):
                node.expect_same_quantization(x, y)
        self.check(node, a.quant, b.quant, y.quant, y.dtype)
        names = (b.name, a.name) if self.commutes and a.size < b.size else (a.name, b.name)
        return (node.op(self.kind, names, BinaryAttributes(node.activation)),)

    def check(
        self, node: TfliteNode, a: Quantization, b: Quantization, y: Quantization, dtype: str
    ) -> None:
        """Refuse quantizations that the reference arithmetic refuses."""


class Mul(Binary):
    kind = "mul"
    tflite = ("MUL",)
    int16 = ("MUL",)
    commutes = True

    def multipliers(
        self, a: Quantization, b: Quantization, y: Quantization, dtype: str = "int8"
    ) -> Multipliers:
        return Multipliers(quantize_multiplier(a.scale0 * b.scale0 / y.scale0))

    def result(self, a: Array, b: Array, m: Multipliers) -> Array:
        return scaled(a * b, m.output)

    def gradient(self, op: Op, tape: Tape) -> None:
        gradient = self.gradient_in(op, tape)
        a, b = op.inputs[:2]
        linear_gradient(op, tape, gradient, a, factors=(Factor(b),))
        linear_gradient(op, tape, gradient, b, factors=(Factor(a),))


class Sub(Binary):
    kind = "sub"
    tflite: ClassVar[tuple[str, ...]] = ("SUB",)
    int16: ClassVar[tuple[str, ...]] = ("SUB",)

    def multipliers(
        self, a: Quantization, b: Quantization, y: Quantization, dtype: str = "int8"
    ) -> Multipliers:
        twice_max, bits = 2.0 * max(a.scale0, b.scale0), SUM_BITS[dtype]
        return Multipliers(
            quantize_multiplier(twice_max / ((1 << bits) * y.scale0)),
            quantize_multiplier(a.scale0 / twice_max),
            quantize_multiplier(b.scale0 / twice_max),
            bits,
        )

    def result(self, a: Array, b: Array, m: Multipliers) -> Array:
        difference = scaled(a << m.bits, m.a) - scaled(b << m.bits, m.b)
        return scaled(difference, m.output)

    def check(
        self, node: TfliteNode, a: Quantization, b: Quantization, y: Quantization, dtype: str
    ) -> None:
        node.expect(
            2 * max(a.scale0, b.scale0) < (1 << SUM_BITS[dtype]) * y.scale0,
            "the output's scale is too small for the inputs' scales",
        )

    def gradient(self, op: Op, tape: Tape) -> None:
        gradient = self.gradient_in(op, tape)
        linear_gradient(op, tape, gradient, op.inputs[0], constant=1.0)
        linear_gradient(op, tape, gradient, op.inputs[1], constant=-1.0)


class AddInt16(Sub):
    kind = "add_int16"
    tflite = ()
    int16 = ("ADD",)
    function = "add"
    commutes = True
    gradient = Operator.gradient  # there is none

    def result(self, a: Array, b: Array, m: Multipliers) -> Array:
        return scaled(scaled(a << m.bits, m.a) + scaled(b << m.bits, m.b), m.output)


class Minimum(Binary):
    kind = "minimum"
    clamps = False
    tflite = ("MINIMUM",)
    int16: ClassVar[tuple[str, ...]] = ("MINIMUM",)
    note = "of one quantization, any broadcasting"
    commutes = True
    compares = True
    order: ClassVar[tuple[str, str]] = ("<=", ">")  # when the gradient goes to a, to b

    def multipliers(
        self, a: Quantization, b: Quantization, y: Quantization, dtype: str = "int8"
    ) -> Multipliers:
        return Multipliers((0, 0))

    def result(self, a: Array, b: Array, m: Multipliers) -> Array:
        return np.minimum(a, b)

    def gradient(self, op: Op, tape: Tape) -> None:
        gradient = tape.gradient_of(op.outputs[0])
        factors = tuple(Factor(name, 0.0) for name in op.inputs[:2])
        for name, when in zip(op.inputs[:2], self.order, strict=True):
            linear_gradient(op, tape, gradient, name, 1.0, factors, when)


class Maximum(Minimum):
    kind = "maximum"
    tflite = ("MAXIMUM",)
    int16 = ("MAXIMUM",)
    order = (">=", "<")

    def result(self, a: Array, b: Array, m: Multipliers) -> Array:
        return np.maximum(a, b)


class SquaredDifference(Binary):
    kind = "squared_difference"
    tflite = ("SQUARED_DIFFERENCE",)
    int16 = ("SQUARED_DIFFERENCE",)
    note = "any broadcasting"
    commutes = True

    def multipliers(
        self, a: Quantization, b: Quantization, y: Quantization, dtype: str = "int8"
    ) -> Multipliers:
        twice_max, bits = 2.0 * max(a.scale0, b.scale0), SQUARE_BITS[dtype]
        return Multipliers(
            quantize_multiplier(twice_max * twice_max / ((1 << 2 * bits) * y.scale0)),
            quantize_multiplier(a.scale0 / twice_max),
            quantize_multiplier(b.scale0 / twice_max),
            bits,
        )

    def result(self, a: Array, b: Array, m: Multipliers) -> Array:
        difference = scaled(a << m.bits, m.a) - scaled(b << m.bits, m.b)
        return scaled(difference * difference, m.output)

    def gradient(self, op: Op, tape: Tape) -> None:
        gradient = self.gradient_in(op, tape)
        a, b = op.inputs[:2]
        for name, sign in ((a, 2.0), (b, -2.0)):
            factors = (Factor(a, sign), Factor(b, -sign))
            linear_gradient(op, tape, gradient, name, factors=factors)


class Prelu(Binary):
    kind = "prelu"
    tflite = ("PRELU",)
    note = "int8, any broadcasting of alpha"

    def multipliers(
        self, a: Quantization, b: Quantization, y: Quantization, dtype: str = "int8"
    ) -> Multipliers:
        return Multipliers(
            quantize_multiplier(a.scale0 * b.scale0 / y.scale0),
            quantize_multiplier(a.scale0 / y.scale0),
        )

    def result(self, a: Array, b: Array, m: Multipliers) -> Array:
        return np.where(a >= 0, scaled(a, m.a), scaled(a * b, m.output))

    def gradient(self, op: Op, tape: Tape) -> None:
        """What arrives where x < 0 goes on times alpha, and to alpha times x; else unchanged."""
        gradient = self.gradient_in(op, tape)
        x, alpha = op.inputs[:2]
        shape, zero = tape.graph[x].shape, tape.graph[x].quant.zero_point0
        below = tuple(float(code < zero) for code in range(-128, 128))
        above = tuple(1.0 - slope for slope in below)
        low = tape.emit("lookup_grad", op, (gradient, x), shape, LookupGradAttributes(below))
        if tape.wants(x):
            high = tape.emit("lookup_grad", op, (gradient, x), shape, LookupGradAttributes(above))
            tape.contribute(x, high)
        linear_gradient(op, tape, low, x, factors=(Factor(alpha),))
        linear_gradient(op, tape, low, alpha, factors=(Factor(x),))


OPERATORS = (Mul(), Sub(), AddInt16(), Minimum(), Maximum(), SquaredDifference(), Prelu())
