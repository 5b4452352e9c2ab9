"""Moves a PAD into the convolutions behind it, which pad for nothing."""

from __future__ import annotations

from dataclasses import replace

from tinykit.ir import Graph, Op
from tinykit.ops.conv2d import Conv2DAttributes
from tinykit.ops.pad import PadAttributes
from tinykit.passes.identities import same_codes
from tinykit.passes.rewrite import replace_op


def fuse_pads(graph: Graph) -> Graph:
    """Without the pads of rows and columns by the zero point that only convolutions read."""
    for op in graph.of_kind("pad"):
        if _fusable(graph, op):
            for reader in graph.consumers(op.outputs[0]):
                graph = replace_op(graph, reader, _padded(reader, op))
            graph = replace_op(graph, op)
    return graph


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
