"""Static exponents of the gradient tensors, from a few dozen samples.

The real-mode backward pass gives the largest |gradient| of every tensor, relative to the step's
normalisation.  int16 values use 11 bits of 15 on the host's samples, int8 ones 6 of 7, and have
room to grow on the device; saturation is counted there.

Weights that begin as zeros (of adapters) would hide what will flow through them: for the samples
they are noise of STAND_IN codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op
from tinykit.ops.conv2d_input_grad import InputGradAttributes
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.gradient_arithmetic import gradient_scale
from tinykit.ops.optimizer_arithmetic import state_exponent
from tinykit.ops.plain_gradients import BITS, SUM_BITS
from tinykit.ops.registry import operator
from tinykit.ops.target import Target
from tinykit.ops.update import UpdateAttributes, is_state
from tinykit.training.centres import enrolled
from tinykit.training.loss import target_form

SMALLEST_EXPONENT = -60
STAND_IN = 16  # codes, standard deviation

Progress = Callable[[int, int], None]


def calibrate(
    graph: Graph,
    samples: Array,
    targets: Sequence[Target],
    progress: Progress | None = None,
) -> Graph:
    """Set the exponent of every gradient tensor.

    samples: int8 [n, …input shape]; targets: n of what the loss takes; progress(done, total).
    """
    if len(samples) == 0 or len(samples) != len(targets):
        raise PlanError(f"calibration needs samples and labels, got {len(samples)}, {len(targets)}")
    form = target_form(graph)
    for target in targets:
        form.check(target)
    largest: dict[str, float] = {}
    inner: dict[str, float] = {}
    trained: dict[str, float] = {}
    backward = [op for op in graph.ops if op.phase == "backward"]
    looked_at, given = enrolled(graph, samples, targets), _stand_ins(graph)
    for done, (sample, target) in enumerate(zip(samples, targets, strict=True)):
        inputs, step = {graph.inputs[0]: sample}, Step.towards(target)
        run = evaluate(looked_at, inputs, parameters=given, step=step, real=True)
        given = {**given, **run.variables()}
        for op in backward:
            for name in op.outputs:
                peak = float(np.abs(run[name]).max(initial=0.0))
                largest[name] = max(largest.get(name, 0.0), peak)
        for name, peak in run.peaks.items():
            inner[name] = max(inner.get(name, 0.0), peak)
        for name, gradient in run.gradients.items():
            peak = float(np.abs(gradient).max(initial=0.0))
            trained[name] = max(trained.get(name, 0.0), peak)
        if progress is not None:
            progress(done + 1, len(samples))
    exponents: dict[str, int] = {}
    changed = []
    for op in backward:
        for name in op.outputs:
            exponent = _exponent(graph, op, largest[name], exponents)
            if graph[name].dtype == "float32":
                exponent = 0
            exponents[name] = exponent
            changed.append(replace(graph[name], quantization=gradient_scale(exponent)))
    ops = tuple(
        _with_state_exponent(_with_inner_exponent(op, inner, exponents), trained, inner)
        for op in graph.ops
    )
    return replace(graph.with_tensors(changed), ops=ops)


def _stand_ins(graph: Graph) -> dict[str, Array]:
    """Small random codes for trained weights that are all zero, by name."""
    random = np.random.default_rng(0)
    return {
        name: np.clip(np.rint(random.normal(0, STAND_IN, t.shape)), -127, 127).astype(np.int8)
        for name, t in graph.tensors.items()
        if t.storage == "parameters" and t.dtype == "int8" and not is_state(name)
        if not t.value.any()
    }


def _with_inner_exponent(op: Op, inner: dict[str, float], exponents: dict[str, int]) -> Op:
    if op.name not in inner or not isinstance(op.attributes, InputGradAttributes):
        return op
    exponent = _exponent_of(inner[op.name], exponents.get(op.inputs[0], SMALLEST_EXPONENT // 2))
    return replace(op, attributes=replace(op.attributes, inner_exponent=exponent))


def _with_state_exponent(op: Op, trained: dict[str, float], inner: dict[str, float]) -> Op:
    if op.phase != "update" or not isinstance(op.attributes, UpdateAttributes):
        return op
    if op.name in inner:  # float32 sums
        exponent = _exponent_of(inner[op.name], 0, SUM_BITS)
        op = replace(op, attributes=replace(op.attributes, sum_exponent=exponent))
    assert isinstance(op.attributes, UpdateAttributes)
    rule = op.attributes.rule
    if not rule.states:
        return op
    exponent = state_exponent(trained[op.updates[0]] or 1.0, rule.momentum)
    return replace(op, attributes=replace(op.attributes, state_exponent=exponent))


def _exponent_of(peak: float, otherwise: int, bits: int = BITS["int16"]) -> int:
    """The exponent that gives the peak so many bits; `otherwise` when nothing arrived."""
    if peak == 0.0:
        return otherwise
    return max(math.frexp(peak)[1] - bits, SMALLEST_EXPONENT)


def _exponent(graph: Graph, op: Op, peak: float, settled: dict[str, int]) -> int:
    upstream = settled.get(op.inputs[0], graph[op.inputs[0]].quant.exponent)
    bits = BITS[graph[op.outputs[0]].dtype]
    return upstream if keeps_exponent(op) else _exponent_of(peak, upstream, bits)


def keeps_exponent(op: Op) -> bool:
    """Whether the op copies values without rescaling them."""
    rule = operator(op.kind)
    return rule.alias or rule.moves
