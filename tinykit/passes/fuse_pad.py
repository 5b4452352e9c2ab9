"""Moves a PAD into the convolutions behind it, which pad for nothing.

1-D layers pad [1, T, C] and only then become a map of one row: such a PAD first moves behind the
reshape that inserts the row.
"""

from __future__ import annotations

from dataclasses import replace

from tinykit.ir import Graph, Op
from tinykit.ops.conv2d import Conv2DAttributes
from tinykit.ops.pad import PadAttributes
from tinykit.ops.reshape import ReshapeAttributes
from tinykit.passes.identities import same_codes
from tinykit.passes.rewrite import only_consumer, replace_op


def fuse_pads(graph: Graph) -> Graph:
    """Without the pads of rows and columns by the zero point that only convolutions read."""
    for op in graph.of_kind("pad"):
        if _fusable(graph, op):
            for reader in graph.consumers(op.outputs[0]):
                graph = replace_op(graph, reader, _padded(reader, op))
            graph = replace_op(graph, op)
    return graph


def sink_pads(graph: Graph) -> Graph:
    """With the reshapes that only insert axes of size 1 in front of the pads before them."""
    for pad in graph.of_kind("pad"):
        reshape = only_consumer(graph, pad.outputs[0])
        if reshape is None or reshape.kind != "reshape":
            continue
        x, between = graph[pad.inputs[0]], graph[pad.outputs[0]]
        assert isinstance(pad.attributes, PadAttributes)
        kept = _inserted_ones(between.shape, graph[reshape.outputs[0]].shape)
        if kept is None or not same_codes(between, graph[reshape.outputs[0]]):
            continue
        sizes, amounts = iter(x.shape), iter(pad.attributes.paddings)
        shape = tuple(next(sizes) if keep else 1 for keep in kept)
        paddings = tuple(next(amounts) if keep else (0, 0) for keep in kept)
        early = replace(reshape, inputs=pad.inputs, outputs=pad.outputs,
                        attributes=ReshapeAttributes(shape))  # fmt: skip
        late = replace(pad, inputs=pad.outputs, outputs=reshape.outputs,
                       attributes=replace(pad.attributes, paddings=paddings))  # fmt: skip
        graph = replace_op(replace_op(graph, pad, early), reshape, late)
        quantization = x.quantization
        graph = graph.with_tensors([replace(between, shape=shape, quantization=quantization)])
    return graph


def _inserted_ones(before: tuple[int, ...], after: tuple[int, ...]) -> list[bool] | None:
    """For each axis of `after` whether it is one of `before`; None where more was done."""
    kept: list[bool] = []
    left = list(before)
    for size in after:
        kept.append(bool(left) and left[0] == size)
        if kept[-1]:
            left.pop(0)
        elif size != 1:
            return None
    return kept if not left and len(after) > len(before) else None


def _fusable(graph: Graph, pad: Op) -> bool:
    x, y = graph[pad.inputs[0]], graph[pad.outputs[0]]
    attributes = pad.attributes
    assert isinstance(attributes, PadAttributes)
    readers = graph.consumers(y.name)
    return (
        y.name not in graph.outputs
        and same_codes(x, y)
        and attributes.value == y.quant.zero_point0
        and len(x.shape) == 4
        and attributes.paddings[0] == attributes.paddings[3] == (0, 0)
        and bool(readers)
        and all(op.kind in ("conv2d", "depthwise_conv2d") for op in readers)
    )


def _padded(convolution: Op, pad: Op) -> Op:
    attributes = convolution.attributes
    assert isinstance(attributes, Conv2DAttributes)
    assert isinstance(pad.attributes, PadAttributes)
    more = (*pad.attributes.paddings[1], *pad.attributes.paddings[2])
    top, bottom, left, right = (a + b for a, b in zip(attributes.padding, more, strict=True))
    return replace(
        convolution,
        inputs=(pad.inputs[0], *convolution.inputs[1:]),
        attributes=replace(attributes, padding=(top, bottom, left, right)),
    )
