"""The block of trained parameters: biases, weights, then what updates keep; each on whole words.

Biases and weights come first so that their initial values are one image in flash. Behind them lie
class centres, which a guard's snapshot has as well, Adam's deviations, which it leaves as they are,
and what begins anew when it goes back: fractions and momentum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinykit.ir import Graph, Tensor
from tinykit.ops.update import is_state, trained_name
from tinykit.schedule.facts import aligned

STATE_RANKS = {"centre": 2, "samples": 2, "deviation": 3}
REST = 4  # the rank of all other states


@dataclass(frozen=True)
class ParameterBlock:
    """offsets and size in bytes; `initial` is the image of the first bytes."""

    tensors: tuple[Tensor, ...]
    offsets: Mapping[str, int]
    size: int
    initial: bytes

    @property
    def kept_bytes(self) -> int:
        """Of biases, weights and class centres."""
        return self._end("deviation")

    @property
    def zeroed_from(self) -> int:
        """Where fractions and momentum begin."""
        return self._end("")

    def _end(self, state: str) -> int:
        """The first offset of a state of that rank or a higher one."""
        rank = STATE_RANKS.get(state, REST)
        return min(
            (self.offsets[t.name] for t in self.tensors if _rank(t) >= rank), default=self.size
        )

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


def _rank(tensor: Tensor) -> int:
    if is_state(tensor.name):
        return STATE_RANKS.get(tensor.name.rpartition("/")[2], REST)
    return 0 if tensor.dtype == "int32" else 1


def parameter_block(graph: Graph) -> ParameterBlock:
    """Lay out all tensors of the graph that are stored as parameters."""
    found = [t for t in graph.tensors.values() if t.storage == "parameters"]
    ordered = sorted(found, key=_rank)  # stable: layers stay in order
    offsets: dict[str, int] = {}
    position, image = 0, bytearray()
    for tensor in ordered:
        offsets[tensor.name] = position
        position += aligned(tensor.bytes)
        if not is_state(tensor.name):
            image += tensor.stored(tensor.value).tobytes()
            image += bytes(position - len(image))
    return ParameterBlock(tuple(ordered), offsets, position, bytes(image))
