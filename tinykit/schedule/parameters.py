"""The block of trained parameters: biases, weights, then what updates keep; each on whole words.

Biases and weights come first so that their initial values are one image in flash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinykit.ir import Graph, Tensor
from tinykit.ops.update import is_state, trained_name
from tinykit.schedule.facts import aligned


@dataclass(frozen=True)
class ParameterBlock:
    """offsets and size in bytes; `initial` is the image of the first bytes."""

    tensors: tuple[Tensor, ...]
    offsets: Mapping[str, int]
    size: int
    initial: bytes

    @property
    def trained(self) -> tuple[Tensor, ...]:
        """Biases, then weights, without what updates keep: the order in which they are numbered."""
        return tuple(tensor for tensor in self.tensors if not is_state(tensor.name))

    def role(self, tensor: Tensor) -> str:
        kind = "bias" if trained_name(tensor.name).endswith("/bias") else "weights"
        if not is_state(tensor.name):
            return kind
        state = tensor.name.rpartition("/")[2]
        return f"bias_{state}" if kind == "bias" else state


@dataclass(frozen=True)
class StateBlock:
    """The variables of a model, each on whole words: offsets, size in bytes, initial image."""

    offsets: Mapping[str, int]
    initial: bytes

    @property
    def size(self) -> int:
        return len(self.initial)


def state_block(graph: Graph) -> StateBlock:
    """Lay out all tensors of the graph that are stored as state."""
    offsets: dict[str, int] = {}
    image = bytearray()
    for tensor in graph.tensors.values():
        if tensor.storage == "state":
            offsets[tensor.name] = len(image)
            image += tensor.stored(tensor.value).tobytes()
            image += bytes(aligned(len(image)) - len(image))
    return StateBlock(offsets, bytes(image))


def parameter_block(graph: Graph) -> ParameterBlock:
    """Lay out all tensors of the graph that are stored as parameters."""
    found = [t for t in graph.tensors.values() if t.storage == "parameters"]

    def rank(tensor: Tensor) -> int:
        if is_state(tensor.name):
            return 2
        return 0 if tensor.dtype == "int32" else 1

    ordered = sorted(found, key=rank)  # stable: layers stay in order
    offsets: dict[str, int] = {}
    position, image = 0, bytearray()
    for tensor in ordered:
        offsets[tensor.name] = position
        position += aligned(tensor.bytes)
        if rank(tensor) < 2:
            image += tensor.stored(tensor.value).tobytes()
            image += bytes(position - len(image))
    return ParameterBlock(tuple(ordered), offsets, position, bytes(image))
