"""DIV: int8, with broadcasting; by a reciprocal in Q0.31, as TensorFlow Lite Micro.

TFLM shifts the product right by up to some 40 bits in 32-bit arithmetic, which C leaves undefined;
here what is shifted by more than 31 bits becomes 0.  Nor does it say what a division by 0 gives:
here 0 counts as one step of the divisor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Op, Quantization
from tinykit.ops.binary import Binary, Multipliers
from tinykit.ops.fixed_point import (
    doubling_high_multiply,
    quantize_multiplier,
    rounding_shift_right,
)
from tinykit.ops.gemmlowp import newton_reciprocal, shift_left
from tinykit.ops.linear_grad import Factor, linear_gradient
from tinykit.ops.lookup_grad import LookupGradAttributes

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape


def leading_zeros(x: Array) -> Array:
    """Of 32 bits, for x >= 0."""
    return np.array([32 - int(v).bit_length() for v in x.flat], np.int64).reshape(x.shape)


class Div(Binary):
    kind = "div"
    tflite = ("DIV",)
    note = (
        "int8, any broadcasting, fused activations; where TFLM shifts by more than 31 bits, which "
        "C leaves undefined, the result is 0; 0 divides as one step; gradients where both shapes "
        "are equal"
    )

    def multipliers(
        self, a: Quantization, b: Quantization, y: Quantization, dtype: str = "int8"
    ) -> Multipliers:
        return Multipliers(quantize_multiplier(a.scale0 / (b.scale0 * y.scale0)))

    def result(self, a: Array, b: Array, m: Multipliers) -> Array:
        multiplier, shift = m.output
        a, b = np.broadcast_arrays(np.where(b < 0, -a, a), np.maximum(np.abs(b), 1))
        zeros = leading_zeros(b)
        inverse = shift_left(newton_reciprocal((b << zeros) - (1 << 31)), 1)
        headroom = leading_zeros(np.where(a < 0, -2 * a - 1, 2 * a))  # spare bits of a
        quotient = doubling_high_multiply(a << headroom, inverse)
        right = headroom + (31 - zeros) - shift
        product = doubling_high_multiply(quotient, np.array(multiplier))
        return np.where(right > 31, 0, rounding_shift_right(product, np.clip(right, 0, 31)))

    def check(
        self, node: TfliteNode, a: Quantization, b: Quantization, y: Quantization, dtype: str
    ) -> None:
        _, shift = self.multipliers(a, b, y).output
        node.expect(
            shift <= 23,  # |a| < 2^8 leaves 23 bits of headroom: shifts go to the right only
            f"scales {a.scale0:g} / {b.scale0:g} to {y.scale0:g} are out of range",
        )

    def gradient(self, op: Op, tape: Tape) -> None:
        """1 / b to a; minus a / b^2 to b."""
        a, b = (tape.graph[name] for name in op.inputs[:2])
        y = op.outputs[0]
        if b.shape != tape.graph[y].shape or a.shape != b.shape:
            raise PlanError(
                f"layer {op.name}: DIV of {list(a.shape)} by {list(b.shape)} has no gradient",
                "supported are equal shapes; or choose a plan that trains only layers behind it",
            )
        codes = np.arange(-128, 128) - b.quant.zero_point0
        inverse = 1.0 / (np.where(codes == 0, 1, codes) * b.quant.scale0)
        by_b = LookupGradAttributes(tuple(inverse.tolist()))
        gradient = self.gradient_in(op, tape)
        gradient = tape.emit("lookup_grad", op, (gradient, b.name), b.shape, by_b)
        tape.contribute(a.name, gradient)
        if tape.wants(b.name):  # twice by b: a table of 1 / b^2 would need more than 16 bits
            gradient = tape.emit("lookup_grad", op, (gradient, b.name), b.shape, by_b)
            linear_gradient(op, tape, gradient, b.name, factors=(Factor(a.name, -1.0),))


OPERATOR = Div()
