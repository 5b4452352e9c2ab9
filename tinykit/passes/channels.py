"""Channels that live and die together, and how to take some away.

Channels that flow through adds, pools or depthwise layers are tied: all tensors that they pass
form a class.  Layers with weights [O, …, I] make the channels of one class from those of another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tinykit.ir import Array, Graph, Op, Quantization, Tensor
from tinykit.ops.registry import operator
from tinykit.ops.reshape import ReshapeAttributes
from tinykit.passes.frozen import downstream


class ChannelClasses:
    """Union-find over arena tensors, by name; `fixed` classes must stay as they are."""

    def __init__(self, graph: Graph) -> None:
        arena = [n for n, t in graph.tensors.items() if t.storage == "arena"]
        self._parent = {name: name for name in arena}
        self._fixed: set[str] = {*graph.inputs, *graph.outputs}
        for op in graph.ops:
            names = [n for n in (*op.reads, *op.outputs) if graph[n].storage == "arena"]
            flow = operator(op.kind).channel_flow(graph, op)
            if flow == "fixed":
                self._fixed.update(names)
            elif flow == "through":
                for name in names[1:]:
                    self._parent[self.find(name)] = self.find(names[0])
        self._fixed = {self.find(name) for name in self._fixed}

    def find(self, name: str) -> str:
        """The tensor that stands for the class of `name`."""
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def fixed(self, name: str) -> bool:
        """Whether the class reaches the model's ends, or an op that needs its order."""
        return self.find(name) in self._fixed

    def groups(self) -> list[list[str]]:
        """The tensors of each class."""
        found: dict[str, list[str]] = {}
        for name in self._parent:
            found.setdefault(self.find(name), []).append(name)
        return list(found.values())


@dataclass(frozen=True)
class Bundle:
    """A class whose channels may be taken away, and the ops around it.

    makers: layers that make its channels; carriers: ops inside; readers: layers that read them.
    """

    tensors: tuple[str, ...]
    channels: int
    makers: tuple[Op, ...]
    carriers: tuple[Op, ...]
    readers: tuple[Op, ...]

    @property
    def fewest(self) -> int:
        """How many channels must stay.

        One, for there is no empty tensor; two where a FULLY_CONNECTED has scales per channel: with
        a single scale TFLM would round its multiplier in another way.
        """
        return 2 if any(op.kind == "fully_connected" for op in self.makers) else 1


def bundles(graph: Graph, learns: frozenset[str]) -> list[Bundle]:
    """The classes of a frozen part of the graph: nothing that learns lies before or reads them."""
    classes, alive = ChannelClasses(graph), downstream(graph, learns)
    found = []
    for names in classes.groups():
        if classes.fixed(names[0]) or any(name in alive for name in names):
            continue
        inside, makers, carriers, readers = set(names), [], [], []
        for op in graph.ops:
            reads = any(name in inside for name in op.reads)
            makes = any(name in inside for name in op.outputs)
            if operator(op.kind).channel_flow(graph, op) == "mixes":
                makers += [op] if makes else []
                readers += [op] if reads else []
            elif reads or makes:
                carriers.append(op)
        if makers and not any(op.name in learns or len(op.inputs) > 3 for op in readers):
            channels = graph[names[0]].shape[-1]
            parts = (tuple(makers), tuple(carriers), tuple(readers))
            found.append(Bundle(tuple(names), channels, *parts))
    return found


def keep_channels(graph: Graph, bundle: Bundle, kept: Array) -> Graph:
    """Without the channels of a bundle that are not in `kept` (indices, rising)."""
    tensors = {name: _narrow(graph[name], len(kept)) for name in bundle.tensors}
    graph = graph.with_tensors(tensors.values())
    for name in [op.name for op in bundle.makers]:
        graph = _take_weights(graph, name, 0, kept)
    for name in [op.name for op in bundle.carriers if op.kind == "depthwise_conv2d"]:
        graph = _take_weights(graph, name, 3, kept)
    for name in [op.name for op in bundle.readers]:
        op = next(op for op in graph.ops if op.name == name)
        weights = graph[op.inputs[1]]
        graph = with_constant(graph, op, 1, take(weights, len(weights.shape) - 1, kept))
    ops = tuple(
        replace(op, attributes=ReshapeAttributes(graph[op.outputs[0]].shape))
        if op.kind == "reshape" and op.outputs[0] in bundle.tensors
        else op
        for op in graph.ops
    )
    return replace(graph, ops=ops)


def with_constant(graph: Graph, op: Op, index: int, tensor: Tensor) -> Graph:
    """The graph with another constant as input `index` of `op`; other readers keep the old one."""
    old = op.inputs[index] if index < len(op.inputs) else ""
    if not old or sum(other.inputs.count(old) for other in graph.ops) > 1:
        role = ("", "weights", "bias")[index]
        tensor = replace(tensor, name=f"{op.name}/own {role}")
    inputs = [*op.inputs, *[""] * (index + 1 - len(op.inputs))]
    inputs[index] = tensor.name
    changed = replace(op, inputs=tuple(inputs))
    ops = tuple(changed if other is op else other for other in graph.ops)
    return replace(graph.with_tensors([tensor]), ops=ops)


def take(tensor: Tensor, axis: int, kept: Array) -> Tensor:
    """A constant without the indices of an axis that are not in `kept`, nor their scales."""
    quantization = tensor.quantization
    if quantization is not None and quantization.per_channel:
        along = quantization.axis == axis or len(tensor.shape) == 1
        if along and len(quantization.scale) == tensor.shape[axis]:
            quantization = Quantization(
                tuple(quantization.scale[i] for i in kept),
                tuple(quantization.zero_point[i] for i in kept),
                quantization.axis,
            )
    data = np.ascontiguousarray(np.take(tensor.value, kept, axis=axis))
    return replace(tensor, shape=data.shape, data=data, quantization=quantization)


def _take_weights(graph: Graph, name: str, axis: int, kept: Array) -> Graph:
    """Output channels of a layer: of its weights along `axis`, and of its bias."""
    op = next(op for op in graph.ops if op.name == name)
    graph = with_constant(graph, op, 1, take(graph[op.inputs[1]], axis, kept))
    op = next(op for op in graph.ops if op.name == name)
    if len(op.inputs) > 2 and op.inputs[2]:
        graph = with_constant(graph, op, 2, take(graph[op.inputs[2]], 0, kept))
    return graph


def _narrow(tensor: Tensor, channels: int) -> Tensor:
    return replace(tensor, shape=(*tensor.shape[:-1], channels))
