"""Drops ops that change nothing: reshapes to the same shape, requantization there and back …"""

from __future__ import annotations

from dataclasses import replace

from tinykit.ir import Graph, Op, Tensor
from tinykit.ops.fixed_point import activation_range, code_range
from tinykit.ops.pad import PadAttributes
from tinykit.passes.rewrite import bypass, replace_op


def same_codes(x: Tensor, y: Tensor) -> bool:
    """Whether equal integers of two tensors mean equal real numbers, exactly."""
    return x.dtype == y.dtype and x.quantization == y.quantization


def drop_identities(graph: Graph) -> Graph:
    """Without the ops whose output equals their input, and pairs that undo each other."""
    while True:
        shorter = _drop_one(graph)
        if shorter is graph:
            return graph
        graph = shorter


def _drop_one(graph: Graph) -> Graph:
    for op in graph.ops:
        shorter = bypass(graph, op) if is_identity(graph, op) else graph
        if shorter is not graph:
            return shorter
        origin = _undone(graph, op)
        if origin:
            direct = replace(op, inputs=(origin,))
            return bypass(replace_op(graph, op, direct), direct)
    return graph


def is_identity(graph: Graph, op: Op) -> bool:
    """Whether the op copies its input."""
    if op.kind not in ("reshape", "quantize", "pad", "relu", "relu6"):
        return False
    x, y = graph[op.inputs[0]], graph[op.outputs[0]]
    if not same_codes(x, y) or x.shape != y.shape:
        return False
    if op.kind == "pad":
        assert isinstance(op.attributes, PadAttributes)
        return not any(n for pair in op.attributes.paddings for n in pair)
    if op.kind in ("relu", "relu6"):
        return activation_range(op.kind, y.quant, y.dtype) == code_range(y.dtype)
    return True


def _undone(graph: Graph, op: Op) -> str:
    """The tensor whose codes a QUANTIZE restores after a lossless one to the other signedness."""
    if op.kind != "quantize" or op.outputs[0] in graph.outputs:
        return ""
    before = graph.producer(op.inputs[0])
    if before is None or before.kind != "quantize":
        return ""
    x, between, y = graph[before.inputs[0]], graph[op.inputs[0]], graph[op.outputs[0]]
    lossless = (
        {x.dtype, between.dtype} == {"int8", "uint8"}
        and x.quant.scale == between.quant.scale
        and abs(x.quant.zero_point0 - between.quant.zero_point0) == 128
    )
    return x.name if lossless and same_codes(x, y) else ""


def merge_reshapes(graph: Graph) -> Graph:
    """A reshape of a reshape reads the first one's input."""
    ops: list[Op] = []
    source: dict[str, str] = {}
    for op in graph.ops:
        if op.kind == "reshape":
            x = source.get(op.inputs[0], op.inputs[0])
            source[op.outputs[0]] = x
            op = replace(op, inputs=(x,)) if x != op.inputs[0] else op
        ops.append(op)
    return replace(graph, ops=tuple(ops))
