"""Gradient times a factor, summed over what broadcasting had repeated.

Of MUL (the factor is the other input), SUB and ADD (±1), SQUARED_DIFFERENCE (twice the
difference), MINIMUM and MAXIMUM (1 where the input was chosen), MEAN and SUM (a constant).
Inputs: gradient int16; up to two int8 tensors.  Output: int16,
result = Σ gradient * (constant + Σ scale * (x - zero point)); integers have one power of two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.broadcast import Shape, merged_axes, strides, table
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import gradient_shift, to_gradient
from tinykit.ops.tape import Tape

FACTOR_BITS = 23  # |gradient * factor| < 3 * 2^38
LARGEST = 1 << 22  # elements that one sum may have
CONDITIONS = {"": 0, "<": 1, "<=": 2, ">": 3, ">=": 4}


@dataclass(frozen=True)
class Factor:
    """A forward tensor times a number."""

    tensor: str
    times: float = 1.0


@dataclass(frozen=True)
class LinearGradAttributes(Attributes):
    """shape: of the result; gradient_shape: of the gradient, as it broadcasts; scales, zeros: of
    the factors; when: a comparison of the first factor's codes with the second's, or ""."""

    shape: Shape
    gradient_shape: Shape
    constant: float = 0.0
    scales: tuple[float, ...] = ()
    zeros: tuple[int, ...] = ()
    when: str = ""

    def fixed(self) -> tuple[int, tuple[int, int], int]:
        """(constant, scales, exponent) as integers: value * 2^exponent."""
        largest = max(abs(self.constant), *(256 * abs(s) for s in (*self.scales, 0.0)))
        exponent = math.frexp(largest)[1] - FACTOR_BITS
        a, b = (round(math.ldexp(s, -exponent)) for s in (*self.scales, 0.0, 0.0)[:2])
        return round(math.ldexp(self.constant, -exponent)), (a, b), exponent


def linear_gradient(
    op: Op,
    tape: Tape,
    gradient: str,
    tensor: str,
    constant: float = 0.0,
    factors: tuple[Factor, ...] = (),
    when: str = "",
    gradient_shape: Shape | None = None,
) -> None:
    """Contribute such a gradient to `tensor`, if it is wanted."""
    if not tape.wants(tensor):
        return
    graph, shape = tape.graph, tape.graph[tensor].shape
    shape_in = gradient_shape or graph[op.outputs[0]].shape
    if constant == 1.0 and not factors and shape_in == shape:
        tape.contribute(tensor, gradient)
        return
    quants = [graph[f.tensor].quant for f in factors]
    attributes = LinearGradAttributes(
        shape,
        shape_in,
        constant,
        tuple(f.times * q.scale0 for f, q in zip(factors, quants, strict=True)),
        tuple(q.zero_point0 for q in quants),
        when,
    )
    inputs = (gradient, *(f.tensor for f in factors))
    tape.contribute(tensor, tape.emit("linear_grad", op, inputs, shape, attributes))


class LinearGrad(Operator[LinearGradAttributes]):
    kind = "linear_grad"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (self.attributes(op).shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes = self.attributes(op)
        gradient = run[op.inputs[0]].reshape(attributes.gradient_shape)
        inputs = [run[name].astype(np.int64) for name in op.inputs[1:]]
        constant, scales, _ = attributes.fixed()
        factor = np.asarray(attributes.constant if run.real else constant)
        reals = attributes.scales if run.real else scales
        for x, zero, scale in zip(inputs, attributes.zeros, reals, strict=False):
            factor = factor + (x - zero) * scale
        if attributes.when:
            a, b = inputs
            chosen = {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[attributes.when]
            factor = np.where(chosen, factor, 0)
        wide = gradient if run.real else gradient.astype(np.int64)
        full = self._full(run.graph, op)
        product = np.broadcast_to(wide * factor, full)
        total = product.sum(axis=self._reduced(full, attributes.shape), keepdims=True)
        total = total.reshape(attributes.shape)
        if run.real:
            return (total,)
        return (to_gradient(total, self._shift(run.graph, op), run.step),)

    def _full(self, graph: Graph, op: Op) -> Shape:
        attributes = self.attributes(op)
        shapes = [graph[name].shape for name in op.inputs[1:]]
        full = np.broadcast_shapes(attributes.shape, attributes.gradient_shape, *shapes)
        return tuple(int(n) for n in full)

    def _reduced(self, full: Shape, shape: Shape) -> tuple[int, ...]:
        """The axes that are summed over."""
        padded = (1,) * (len(full) - len(shape)) + shape
        return tuple(i for i, n in enumerate(full) if padded[i] != n)

    def _shift(self, graph: Graph, op: Op) -> int:
        exponent = graph[op.inputs[0]].quant.exponent + self.attributes(op).fixed()[2]
        return gradient_shift(op.name, graph[op.outputs[0]].quant.exponent, exponent)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        full = self._full(graph, op)
        shapes = [attributes.gradient_shape, *(graph[name].shape for name in op.inputs[1:])]
        steps = [strides(shape, full) for shape in (*shapes, *[()] * 2)[:3]]
        reduced = self._reduced(full, attributes.shape)
        kept = [i for i in range(len(full)) if i not in reduced]
        outer, outer_steps = merged_axes(full, steps, kept)
        inner, inner_steps = merged_axes(full, steps, reduced)
        if math.prod(inner) > LARGEST:
            raise PlanError(f"layer {op.name}: gradients summed over {math.prod(inner)} values")
        constant, scales, _ = attributes.fixed()
        zeros = (*attributes.zeros, 0, 0)
        struct = Struct(
            "tk_linear_grad",
            {
                "size": table([*outer, *inner]),
                "stride": table([*outer_steps[0], *inner_steps[0]]),
                "stride_a": table([*outer_steps[1], *inner_steps[1]]),
                "stride_b": table([*outer_steps[2], *inner_steps[2]]),
                "constant": constant,
                "scale_a": scales[0],
                "scale_b": scales[1],
                "zero_point_a": zeros[0],
                "zero_point_b": zeros[1],
                "shift": self._shift(graph, op),
                "factors": len(op.inputs) - 1,
                "condition": CONDITIONS[attributes.when],
            },
        )
        a, b = (*op.inputs[1:], op.inputs[0], op.inputs[0])[:2]  # never read where absent
        arguments = (op.inputs[0], a, b, op.outputs[0], "$trainer")
        return (Call("tk_linear_grad_s16", struct, arguments),)


OPERATOR = LinearGrad()
