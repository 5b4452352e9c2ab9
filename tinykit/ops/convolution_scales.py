"""Weight scales of layers whose weights lie in two blocks."""

from __future__ import annotations

from tinykit.ir import Graph


def joined_scales(graph: Graph, weights: str, rest: str) -> tuple[float, ...]:
    """The scales of a depthwise layer's channels, those of the trained block first.

    A block of one channel has one scale as well: whether that is per channel, its axis says.
    """
    first = graph[weights].quant
    per_channel = first.axis is not None
    return first.scale + graph[rest].quant.scale if rest and per_channel else first.scale
