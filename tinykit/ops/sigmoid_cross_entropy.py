"""Loss: cross-entropy of sigmoid(logits) against 0, 1 or values between; the mean over the outputs.

Input: logits int8 or int16 (fine_logits), N in all.  Output: gradient int16 with exponent -14, of
(p - t) / 2^k with the smallest k that makes max|p - t| <= 2^k, and the step's headroom more.  The
rate is learning rate * 2^k / N.  A target is N values v of int8 that mean (v + 128) / 255, or a
class: 0 or 1 of a single output, else the one output that is 1.  The prediction is the first
largest logit; of a single output, whether p > 1/2.  All in float32, output by output in order.
"""

from __future__ import annotations

import math

import numpy as np

from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run, Step
from tinykit.ops.float_arithmetic import exp32, log32
from tinykit.ops.softmax_cross_entropy import (
    GRADIENT_EXPONENT,
    LossAttributes,
    normalisation_exponent,
)
from tinykit.ops.target import TargetForm

F = np.float32
ONE = F(1.0)


class SigmoidCrossEntropy(Operator[LossAttributes]):
    kind = "sigmoid_cross_entropy"

    def target(self, graph: Graph, op: Op) -> TargetForm:
        """The targets that the loss takes."""
        outputs = graph[op.inputs[0]].size
        return TargetForm(self.kind, max(outputs, 2), outputs, 1 / 255, -128)

    def may_end(self, op: Op) -> bool:
        attributes = self.attributes(op)
        return attributes.skip_below > 0 or attributes.guard_loss > 0

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        step, quant = run.step, run.graph[op.inputs[0]].quant
        codes = run[op.inputs[0]].reshape(-1).astype(np.int32) - quant.zero_point0
        step.prediction = int(codes.argmax()) if codes.size > 1 else int(codes[0] > 0)
        outputs, total = F(codes.size), F(0.0)
        difference: list[np.float32] = []
        for code, t in zip(codes, _targets(step, codes.size), strict=True):
            x = F(F(int(code)) * F(quant.scale0))
            e = exp32(F(-abs(x)))
            term = F(F(max(x, F(0.0)) - F(x * t)) + log32(F(ONE + e)))
            total = F(total + term)
            difference.append(F(F((ONE if x > 0 else e) / F(ONE + e)) - t))
        step.loss = float(F(total / outputs))

        largest, ends = max(abs(d) for d in difference), self.attributes(op)
        guarded = bool(0 < F(ends.guard_loss) < F(step.loss))
        step.skips = guarded or bool(largest < F(ends.skip_below))
        shape = run.graph[op.outputs[0]].shape
        if largest < F(2.0**-100):
            step.normalisation, step.rate = 0.0, 0.0
            return (np.zeros(shape, np.float64 if run.real else np.int16),)
        k = normalisation_exponent(largest) + step.headroom
        step.normalisation = float(F(F(math.ldexp(1.0, k)) / outputs))
        rate = F(step.learning_rate) / F(step.accumulate)
        step.rate = float(rate * F(step.normalisation))
        if run.real:
            real = [math.ldexp(float(d), -k) for d in difference]
            return (np.array(real).reshape(shape),)
        up = F(math.ldexp(1.0, -GRADIENT_EXPONENT - k))
        scaled = [F(d * up) for d in difference]
        rounded = [int(s + (F(0.5) if s >= 0 else F(-0.5))) for s in scaled]
        return (np.array(rounded, np.int16).reshape(shape),)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        logits = graph[op.inputs[0]]
        struct = Struct(
            "tk_sigmoid_cross_entropy",
            {
                "scale": logits.quant.scale0,
                "skip_below": self.attributes(op).skip_below,
                "guard_loss": self.attributes(op).guard_loss,
                "zero_point": logits.quant.zero_point0,
                "outputs": logits.size,
                "fine": int(logits.dtype == "int16"),
            },
        )
        arguments = (logits.name, op.outputs[0], "$scratch", "$target", "$trainer", "$step")
        return (Call("tk_sigmoid_cross_entropy_s8", struct, arguments, scratch=4 * logits.size),)


def _targets(step: Step, outputs: int) -> list[np.float32]:
    if step.values is not None:
        return [F(F(int(v) + 128) / F(255.0)) for v in step.values.reshape(-1)]
    if outputs == 1:
        return [F(step.label == 1)]
    return [F(c == step.label) for c in range(outputs)]


OPERATOR = SigmoidCrossEntropy()
