"""Weight scales of layers whose weights lie in two blocks."""

from __future__ import annotations

from tinykit.ir import Graph


def joined_scales(graph: Graph, weights: str, rest: str) -> tuple[float, ...]:
    """The scales of a depthwise layer's channels, those of the trained block first."""
    first = graph[weights].quant
    return first.scale + graph[rest].quant.scale if rest and first.per_channel else first.scale
