"""What an operator's gradient rule may ask for and emit; tinykit.training.autodiff provides it."""

from __future__ import annotations

from typing import Protocol

from tinykit.ir import Attributes, Graph, Op
from tinykit.ops.activation_mask import Limits
from tinykit.ops.update import UpdateAttributes


class Tape(Protocol):
    """The backward pass under construction.

    Gradients are with respect to real values (scale * (integer - zero point)).  Several
    contributions to one tensor are added.
    """

    @property
    def graph(self) -> Graph:
        """The forward graph, with trained tensors stored as "parameters"."""
        ...

    @property
    def logits(self) -> str:
        """The tensor that the loss is computed on."""
        ...

    def wants(self, tensor: str) -> bool:
        """Whether a trained parameter lies upstream, so that the gradient is needed."""
        ...

    def trains(self, tensor: str) -> bool:
        """Whether this tensor is a trained parameter."""
        ...

    def gradient_of(self, tensor: str) -> str:
        """The gradient of the loss with respect to a forward tensor: int16, its shape."""
        ...

    def contribute(self, tensor: str, gradient: str) -> None:
        """Add a term to the gradient of a forward tensor."""
        ...

    def emit(
        self,
        kind: str,
        op: Op,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        attributes: Attributes | None = None,
    ) -> str:
        """A backward op that makes one int16 tensor; returns the tensor's name."""
        ...

    def update(
        self,
        kind: str,
        op: Op,
        inputs: tuple[str, ...],
        parameter: str,
        attributes: UpdateAttributes,
    ) -> None:
        """An op that updates `parameter` (and its residual) from `inputs`."""
        ...

    def mask(self, op: Op, tensor: str, limits: Limits) -> str:
        """What activation_grad needs of a forward tensor: itself if kept anyway, else bits."""
        ...
