"""Gradient tensors of another type than int16."""

from __future__ import annotations

from dataclasses import replace

from tinykit.errors import PlanError
from tinykit.ir import Attributes, Graph, Op, Tensor
from tinykit.ir.tensor import DType
from tinykit.ops.plain_gradients import CONVERT, SUFFIXES
from tinykit.ops.registry import operator, operators

MOST_HEADROOM = 8


def most_headroom(graph: Graph) -> int:
    """Bits that a training graph's gradients may get beyond the calibrated ones while it learns.

    None for int8: six bits of them are too few to give one for a value that saturates.
    """
    small = any(graph[op.outputs[0]].dtype == "int8" for op in graph.ops if op.phase == "backward")
    return 0 if small else MOST_HEADROOM


def typed(graph: Graph, dtype: DType) -> Graph:
    """A training graph with int16 gradients, with gradients of type int8 or float32 instead.

    The loss's own stays int16 and is converted.  Raises PlanError for an operator whose gradient
    there is in int16 only.
    """
    suffix = SUFFIXES[dtype]
    tensors = dict(graph.tensors)
    ops: list[Op] = []
    renamed: dict[str, str] = {}
    for op in graph.ops:
        if op.phase not in ("backward", "update"):
            ops.append(op)
            if op.phase == "loss":
                (gradient,) = op.outputs
                renamed[gradient] = f"{gradient}/{dtype}"
                kind, made = f"{CONVERT}_{suffix}", (renamed[gradient],)
                ops.append(Op(kind, f"loss/{CONVERT}", (gradient,), made, Attributes(), (),
                              "backward", "loss"))  # fmt: skip
                tensors[made[0]] = _as(replace(tensors[gradient], name=made[0]), dtype)
            continue
        kind = op.kind if operator(op.kind).alias else f"{op.kind}_{suffix}"
        if kind not in operators():
            raise PlanError(
                f"layer {op.layer}: {op.kind} has no {dtype} gradients",
                '[training] gradients = "int16", or train only layers behind it',
            )
        inputs = tuple(renamed.get(name, name) for name in op.inputs)
        ops.append(replace(op, kind=kind, inputs=inputs))
        for name in op.outputs:
            tensors[name] = _as(tensors[name], dtype)
    return replace(graph, tensors=tensors, ops=tuple(ops)).pruned().check()


def _as(tensor: Tensor, dtype: DType) -> Tensor:
    return replace(tensor, dtype=dtype)
