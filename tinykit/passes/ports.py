"""One input and one output for a model that has several."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tinykit.errors import ModelError, UsageError
from tinykit.ir import Graph, Op, Quantization, Tensor
from tinykit.ir.tensor import DType
from tinykit.ops.ports import PartAttributes

BYTES = Quantization.per_tensor(1.0)
PORTS: tuple[DType, ...] = ("int8", "uint8", "int16")  # what inputs and outputs may be


@dataclass(frozen=True)
class Place:
    """A tensor of the model and where it begins in the input or output, in bytes."""

    tensor: Tensor
    first: int


def single_ports(graph: Graph) -> Graph:
    """The graph with its inputs in one block of bytes [1, n], int8, and its outputs in another.

    One input, or one output, stays as it is.  Raises ModelError for what is made of constants or of
    another type than PORTS.
    """
    tensors, ops = dict(graph.tensors), list(graph.ops)
    inputs, outputs = graph.inputs, graph.outputs
    for name in (*inputs, *outputs) if len(inputs) + len(outputs) > 2 else ():
        if tensors[name].storage != "arena" or tensors[name].dtype not in PORTS:
            raise ModelError(
                f"{name} is {tensors[name].storage} {tensors[name].dtype}; of several inputs and "
                f"outputs each must be a computed {' or '.join(PORTS)} tensor"
            )
    if len(inputs) > 1:
        block = _block(tensors, "inputs", inputs)
        takes, first = [], 0
        for name in inputs:
            attributes = PartAttributes(first, tensors[name].shape)
            takes.append(
                Op("part", f"{name}_part", (block,), (name,), attributes, layer=f"{name}_part")
            )
            first += tensors[name].bytes
        ops, inputs = takes + ops, (block,)
    if len(outputs) > 1:
        block = _block(tensors, "outputs", outputs)
        ops.append(Op("join", block, outputs, (block,), layer=block))
        outputs = (block,)
    return replace(graph, tensors=tensors, ops=tuple(ops), inputs=inputs, outputs=outputs)


def with_output(graph: Graph, wanted: str | int) -> Graph:
    """The graph with one of its joined outputs only, by name or number (from 0).

    What nothing else needs is dead then.  Raises UsageError when there is no such output.
    """
    places = output_places(graph)
    names = [place.tensor.name for place in places]
    number = wanted if isinstance(wanted, int) else names.index(wanted) if wanted in names else -1
    if not 0 <= number < len(names):
        raise UsageError(
            f"[model] output: {graph.name} has no output {wanted}",
            "it has " + ", ".join(f"{i} ({name})" for i, name in enumerate(names)),
        )
    joined = {op.name for op in graph.of_kind("join")}
    ops = tuple(op for op in graph.ops if op.name not in joined)
    return replace(graph, ops=ops, outputs=(names[number],)).pruned()


def input_places(graph: Graph) -> tuple[Place, ...]:
    """The model's own inputs and where they begin in what is generated."""
    (name,) = graph.inputs
    found = tuple(
        Place(graph[op.outputs[0]], op.attributes.first)
        for op in graph.ops
        if isinstance(op.attributes, PartAttributes)
    )
    return found or (Place(graph[name], 0),)


def output_places(graph: Graph) -> tuple[Place, ...]:
    """The model's own outputs and where they begin in what is generated."""
    (name,) = graph.outputs
    producer = graph.producer(name)
    if producer is None or producer.kind != "join":
        return (Place(graph[name], 0),)
    found, first = [], 0
    for part in producer.inputs:
        found.append(Place(graph[part], first))
        first += graph[part].bytes
    return tuple(found)


def _block(tensors: dict[str, Tensor], name: str, parts: tuple[str, ...]) -> str:
    while name in tensors:
        name += "_"
    size = sum(tensors[part].bytes for part in parts)
    tensors[name] = Tensor(name, (1, size), "int8", BYTES)
    return name
