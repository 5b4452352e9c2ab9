"""The gradient of operators that rescale and then clamp to int8: MEAN and QUANTIZE."""

from __future__ import annotations

from tinykit.ir import Op
from tinykit.ops.activation_mask import Limits
from tinykit.ops.tape import Tape

NEVER = 1000  # a limit that no code reaches


def rescale_gradient(op: Op, tape: Tape) -> str:
    """The gradient in front of the clamp, which acts where y's range lies inside x's.

    Logits are not clamped: one that saturates must still be able to learn.
    """
    gradient = tape.gradient_of(op.outputs[0])
    x, y = tape.graph[op.inputs[0]].quant, tape.graph[op.outputs[0]].quant
    low, high = ((end - x.zero_point0) * x.scale0 / y.scale0 + y.zero_point0 for end in (-128, 127))
    limits = Limits(-128 if low < -128.5 else -NEVER, 127 if high > 127.5 else NEVER)
    if limits == Limits(-NEVER, NEVER) or op.outputs[0] == tape.logits:
        return gradient
    kept = tape.mask(op, op.outputs[0], limits)
    shape = tape.graph[op.outputs[0]].shape
    return tape.emit("activation_grad", op, (gradient, kept), shape, limits)
