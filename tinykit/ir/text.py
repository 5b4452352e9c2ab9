"""A graph as text, one op per line: for people, diffs and tests."""

from __future__ import annotations

from dataclasses import fields

from tinykit.ir.graph import Attributes, Graph
from tinykit.ir.tensor import Tensor


def _tensor(tensor: Tensor) -> str:
    where = "" if tensor.storage == "arena" else f"@{tensor.storage}"
    return f"{tensor.name}:{tensor.dtype}{list(tensor.shape)}{where}"


def _attributes(attributes: Attributes) -> str:
    pairs = (f"{f.name}={getattr(attributes, f.name)}" for f in fields(attributes))
    return ", ".join(pairs)


def format_graph(graph: Graph) -> str:
    """`outputs = kind(inputs) {attributes}` for each op, in execution order."""
    lines = [f"graph {graph.name}({', '.join(_tensor(graph[n]) for n in graph.inputs)})"]
    for op in graph.ops:
        outputs = ", ".join(_tensor(graph[n]) for n in (op.outputs or op.updates))
        inputs = ", ".join(n and _tensor(graph[n]) for n in op.inputs)
        lines.append(f"  {outputs} = {op.kind}({inputs}) {{{_attributes(op.attributes)}}}")
    lines.append(f"  return {', '.join(graph.outputs)}")
    return "\n".join(lines)
