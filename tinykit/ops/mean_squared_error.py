"""Loss: the mean of (y - t)^2 over all N outputs, in integers.

Inputs: outputs y int8; and, for an autoencoder, the tensor that they are held against (its input).
Otherwise the target is N values of int8, quantized as y.  With S the larger scale of both, the
differences are integers D in units of S / 2^20.  Output: gradient int16 with exponent -14, of
D / 2^b with the smallest b that makes max|D| <= 2^b, rounded halves up.  The derivative by y is
2 * D * S / 2^20 / N, so the rate is learning rate * (2 * S / 2^20 / N * 2^b).  There is no
prediction.
"""

from __future__ import annotations

import math

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op, Quantization
from tinykit.ops.base import Call, Field, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.gradient_arithmetic import shift_round
from tinykit.ops.softmax_cross_entropy import GRADIENT_EXPONENT, LossAttributes
from tinykit.ops.target import TargetForm

F = np.float32
UNIT_BITS = 20  # of the larger scale
LOSS_SHIFT = 6  # differences lose so many bits before they are squared
LARGEST_SIZE = 2**17  # outputs whose squares fit into 64 bits


class MeanSquaredError(Operator[LossAttributes]):
    kind = "mean_squared_error"

    def target(self, graph: Graph, op: Op) -> TargetForm:
        """The targets that the loss takes."""
        if len(op.inputs) > 1:
            return TargetForm(self.kind)
        y = graph[op.inputs[0]]
        return TargetForm(self.kind, 0, y.size, y.quant.scale0, y.quant.zero_point0)

    def may_end(self, op: Op) -> bool:
        return self.attributes(op).guard_loss > 0

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        sizes = {graph[name].size for name in op.inputs}
        if len(sizes) > 1 or max(sizes) > LARGEST_SIZE:
            raise PlanError(
                f"{graph.name}: {' and '.join(map(str, sorted(sizes)))} outputs and targets; "
                f"{self.kind} needs as many of both, at most {LARGEST_SIZE}"
            )
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        step, (y, t) = run.step, _quantizations(run.graph, op)
        outputs = run[op.inputs[0]].reshape(-1)
        if len(op.inputs) > 1:
            expected = run[op.inputs[1]].reshape(-1)
        else:
            assert step.values is not None
            expected = step.values.reshape(-1)
        unit, a, b = _units(y, t)
        above_y = outputs.astype(np.int64) - y.zero_point0
        above_t = expected.astype(np.int64) - t.zero_point0
        difference = above_y * a - above_t * b
        parts = (np.abs(difference) + (1 << (LOSS_SHIFT - 1))) >> LOSS_SHIFT
        squares = sum(int(p) * int(p) for p in parts)
        high = F(F(squares >> 32) * F(2.0**32))
        loss_scale, gradient_scale = _scales(unit, outputs.size)
        step.loss = float(F(F(high + F(squares & 0xFFFFFFFF)) * loss_scale))
        step.prediction = -1
        step.skips = bool(0 < F(self.attributes(op).guard_loss) < F(step.loss))

        largest = int(np.abs(difference).max())
        bits = max(largest - 1, 0).bit_length() + step.headroom
        normalisation = F(gradient_scale * F(math.ldexp(1.0, bits))) if largest else F(0.0)
        step.normalisation = float(normalisation)
        step.rate = float(F(step.learning_rate) / F(step.accumulate) * normalisation)
        shape = run.graph[op.outputs[0]].shape
        if run.real:
            real = (y.scale0 * above_y - t.scale0 * above_t) * 2 / outputs.size
            return ((real / (step.normalisation or 1.0)).reshape(shape),)
        rounded = shift_round(difference, bits + GRADIENT_EXPONENT)
        return (rounded.astype(np.int16).reshape(shape),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        y, t = _quantizations(graph, op)
        unit, a, b = _units(y, t)
        size = graph[op.inputs[0]].size
        loss_scale, gradient_scale = _scales(unit, size)
        fields: dict[str, Field] = {
            "guard_loss": self.attributes(op).guard_loss,
            "loss_scale": float(loss_scale),
            "gradient_scale": float(gradient_scale),
            "multiplier": a,
            "target_multiplier": b,
            "zero_point": y.zero_point0,
            "target_zero_point": t.zero_point0,
            "size": size,
        }
        struct = Struct("tk_mean_squared_error", fields)
        if len(op.inputs) > 1:
            arguments = (*op.inputs, op.outputs[0], "$trainer", "$step")
            return (Call("tk_reconstruction_error_s8", struct, arguments),)
        arguments = (op.inputs[0], op.outputs[0], "$target", "$trainer", "$step")
        return (Call("tk_mean_squared_error_s8", struct, arguments),)


def _quantizations(graph: Graph, op: Op) -> tuple[Quantization, Quantization]:
    """Of the outputs, and of what they are held against."""
    return graph[op.inputs[0]].quant, graph[op.inputs[-1]].quant


def _units(y: Quantization, t: Quantization) -> tuple[float, int, int]:
    """The unit of differences, and what a step of y and of t are in it."""
    unit = max(y.scale0, t.scale0) / 2**UNIT_BITS
    return unit, round(y.scale0 / unit), round(t.scale0 / unit)


def _scales(unit: float, size: int) -> tuple[np.float32, np.float32]:
    """Loss by sum of squares, and derivative by difference."""
    return F((unit * 2**LOSS_SHIFT) ** 2 / size), F(2 * unit / size)


OPERATOR = MeanSquaredError()
