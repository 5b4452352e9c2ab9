"""Static exponents of the gradient tensors, from a few dozen samples.

The real-mode backward pass gives the largest |gradient| of every tensor, relative to the step's
normalisation.  With HEADROOM bits above that, values use 15 - HEADROOM bits on the host's samples
and have room to grow on the device; saturation is counted there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.gradient_arithmetic import gradient_scale
from tinykit.ops.registry import operator

HEADROOM = 4  # bits
SMALLEST_EXPONENT = -60

Progress = Callable[[int, int], None]


def calibrate(
    graph: Graph,
    samples: Array,
    labels: Sequence[int],
    progress: Progress | None = None,
) -> Graph:
    """Set the exponent of every gradient tensor.

    samples: int8 [n, …input shape]; labels: n class numbers; progress(done, total).
    """
    if len(samples) == 0 or len(samples) != len(labels):
        raise PlanError(f"calibration needs samples and labels, got {len(samples)}, {len(labels)}")
    largest: dict[str, float] = {}
    backward = [op for op in graph.ops if op.phase == "backward"]
    for done, (sample, label) in enumerate(zip(samples, labels, strict=True)):
        run = evaluate(graph, {graph.inputs[0]: sample}, step=Step(label=int(label)), real=True)
        for op in backward:
            for name in op.outputs:
                peak = float(np.abs(run[name]).max(initial=0.0))
                largest[name] = max(largest.get(name, 0.0), peak)
        if progress is not None:
            progress(done + 1, len(samples))
    exponents: dict[str, int] = {}
    changed = []
    for op in backward:
        for name in op.outputs:
            exponent = _exponent(graph, op, largest[name], exponents)
            exponents[name] = exponent
            changed.append(replace(graph[name], quantization=gradient_scale(exponent)))
    return graph.with_tensors(changed)


def _exponent(graph: Graph, op: Op, peak: float, settled: dict[str, int]) -> int:
    if keeps_exponent(op):
        source = op.inputs[0]
        return settled.get(source, graph[source].quant.exponent)
    if peak == 0.0:  # no sample reached it: as good as where it comes from
        return settled.get(op.inputs[0], graph[op.inputs[0]].quant.exponent)
    bits = 15 - HEADROOM
    return max(math.frexp(peak)[1] - bits, SMALLEST_EXPONENT)


def keeps_exponent(op: Op) -> bool:
    """Whether the op copies values without rescaling them."""
    rule = operator(op.kind)
    return rule.alias or op.kind in ("activation_grad", "pad_grad")
