"""What is kept of a sample, for training on it again: all that the ops behind this one read.

No output, and no kernel: generated code copies the tensors, one behind the other, into the block
of what is kept, or from there back to their places and goes on behind this op.  It divides the
order: no op moves across it, so the ops in front are those that need not run again.
"""

from __future__ import annotations

from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Cost, Operator
from tinykit.ops.evaluate import Run


class Keep(Operator[Attributes]):
    kind = "keep"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return ()

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        return ()

    def cost(self, graph: Graph, op: Op) -> Cost:
        return Cost()

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        return ()


OPERATOR = Keep()
