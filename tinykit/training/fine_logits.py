"""Which networks' losses see logits of int16, and how they come into the graph."""

from __future__ import annotations

from dataclasses import replace

from tinykit.ir import Graph, Op, Quantization
from tinykit.ops import conv2d, fully_connected
from tinykit.ops.fine_logits import BITS, INPUTS_MAX, SHIFT_MAX, FineLogitsAttributes
from tinykit.training.loss import before_reshapes


def with_fine_logits(graph: Graph, logits: str) -> tuple[Graph, str]:
    """A forward graph with int16 logits beside its int8 ones, and their name.

    logits: the int8 tensor that a cross-entropy is computed on.  The same graph and name where it
    is not one row of sums of a fully connected layer, or of a convolution with one tap.
    """
    layer = graph.producer(before_reshapes(graph, logits))
    if layer is None or not _serves(graph, layer):
        return graph, logits
    multiplier, shift = _multipliers(graph, layer)
    if max(shift) > SHIFT_MAX:
        return graph, logits
    name = f"{logits}/fine"
    scale = Quantization.per_tensor(graph[layer.outputs[0]].quant.scale0 / 2**BITS)
    tensor = replace(graph[logits], name=name, dtype="int16", quantization=scale)
    attributes = FineLogitsAttributes(tensor.shape, multiplier, shift)
    kind, owner = "fine_logits", layer.layer or layer.name
    op = Op(kind, f"{layer.name}/{kind}", layer.inputs, (name,), attributes, layer=owner)
    at = graph.ops.index(layer) + 1
    ops = (*graph.ops[:at], op, *graph.ops[at:])
    return replace(graph.with_tensors([tensor]), ops=ops), name


def _serves(graph: Graph, layer: Op) -> bool:
    if layer.kind not in ("fully_connected", "conv2d"):
        return False
    x, y = graph[layer.inputs[0]], graph[layer.outputs[0]]
    if layer.kind == "conv2d" and not conv2d.window_of(graph, layer).pointwise:
        return False
    one_row = x.size == x.shape[-1] <= INPUTS_MAX and y.size == y.shape[-1]
    return one_row and x.dtype == "int8" and getattr(layer.attributes, "activation", "") == "none"


def _multipliers(graph: Graph, layer: Op) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rule = conv2d if layer.kind == "conv2d" else fully_connected
    multiplier, shift = rule.output_multipliers(graph, layer)
    return tuple(multiplier.tolist()), tuple(shift.tolist())
