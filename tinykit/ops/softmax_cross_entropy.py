"""Loss: cross-entropy of softmax(logits) against a class number.

Input: logits int8 or int16 (fine_logits) [1, N].  Output: gradient int16 with exponent -14, of
(p - y) / 2^k with the smallest k that makes max|p - y| <= 2^k, and the step's headroom more.  The
step learns its loss, its prediction (first largest logit), rate = learning rate * 2^k, and whether
it ends here.  Probabilities are float32, computed class by class in order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.float_arithmetic import exp32, log32
from tinykit.ops.target import TargetForm

F = np.float32
GRADIENT_EXPONENT = -14


def normalisation_exponent(largest: np.float32) -> int:
    """The smallest k with largest <= 2^k, for a positive normal float32."""
    bits = int(largest.view(np.uint32))
    return (bits >> 23) - 127 + (1 if bits & 0x7FFFFF else 0)


@dataclass(frozen=True)
class LossAttributes(Attributes):
    """When a step ends with its loss, as in the plan's optimizer; 0: never."""

    skip_below: float = 0.0
    guard_loss: float = 0.0


class SoftmaxCrossEntropy(Operator[LossAttributes]):
    kind = "softmax_cross_entropy"
    kernel = "tk_softmax_cross_entropy_s8"

    def target(self, graph: Graph, op: Op) -> TargetForm:
        """The targets that the loss takes."""
        return TargetForm(self.kind, graph[op.inputs[0]].size)

    def used(self, op: Op, run: Run) -> int:
        """How many of the logits count, from the first."""
        return run.graph[op.inputs[0]].size

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (graph[op.inputs[0]].shape,)

    def may_end(self, op: Op) -> bool:
        attributes = self.attributes(op)
        return attributes.skip_below > 0 or attributes.guard_loss > 0

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        step = run.step
        shape, used = run.graph[op.outputs[0]].shape, self.used(op, run)
        logits = run[op.inputs[0]].reshape(-1).astype(np.int32)[:used]
        scale = F(run.graph[op.inputs[0]].quant.scale0)
        step.prediction = int(logits.argmax())
        exps = [exp32(F(F(int(q - logits.max())) * scale)) for q in logits]
        total = F(0.0)
        for value in exps:
            total = F(total + value)
        difference = [F(value / total) for value in exps]
        difference[step.label] = F(difference[step.label] - F(1.0))
        distance = F(F(int(logits.max() - logits[step.label])) * scale)
        step.loss = float(F(log32(total) + distance))

        largest = max(abs(d) for d in difference)
        attributes = self.attributes(op)
        guarded = bool(0 < F(attributes.guard_loss) < F(step.loss))
        step.skips = guarded or bool(largest < F(attributes.skip_below))
        if largest < F(2.0**-100):
            step.normalisation, step.rate = 0.0, 0.0
            return (np.zeros(shape, np.float64 if run.real else np.int16),)
        k = normalisation_exponent(largest) + step.headroom
        step.normalisation = math.ldexp(1.0, k)
        rate = F(step.learning_rate) / F(step.accumulate)
        step.rate = float(rate * F(step.normalisation))
        if run.real:
            real = np.zeros(shape)
            real.flat[:used] = [float(d) / step.normalisation for d in difference]
            return (real,)
        up = F(math.ldexp(1.0, -GRADIENT_EXPONENT - k))
        scaled = [F(d * up) for d in difference]
        rounded = [int(s + (F(0.5) if s >= 0 else F(-0.5))) for s in scaled]
        gradient = np.zeros(shape, np.int16)
        gradient.flat[:used] = rounded
        return (gradient,)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        logits = graph[op.inputs[0]]
        struct = Struct(
            "tk_softmax_cross_entropy",
            {
                "scale": logits.quant.scale0,
                "classes": logits.size,
                "fine": int(logits.dtype == "int16"),
                "skip_below": self.attributes(op).skip_below,
                "guard_loss": self.attributes(op).guard_loss,
            },
        )
        arguments = (logits.name, op.outputs[0], "$scratch", "$target", "$trainer", "$step")
        return (Call(self.kernel, struct, arguments, scratch=4 * logits.size),)


OPERATOR = SoftmaxCrossEntropy()
