"""What a verification found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class ParameterLike(Protocol):
    """A trained tensor's place in the block of parameters (see the manifest)."""

    @property
    def name(self) -> str: ...

    @property
    def layer(self) -> str: ...

    @property
    def offset(self) -> int: ...

    @property
    def bytes(self) -> int: ...


@dataclass(frozen=True)
class TensorBits:
    """One trained tensor on both sides: how many of its bits differ."""

    name: str
    layer: str
    bits: int
    differing: int


@dataclass(frozen=True)
class AlteredConstant:
    """A constant in the firmware's file that is not what was generated; `bytes` of `size` differ.

    `layer` is the one whose name the constant bears ("" if none).
    """

    symbol: str
    layer: str
    size: int
    bytes: int


@dataclass(frozen=True)
class Location:
    """The first operator whose output differs; phase "initial": the tensor a layer starts with."""

    index: int
    name: str
    kind: str
    phase: str
    layer: str

    def __str__(self) -> str:
        if self.phase == "initial":
            return f"layer '{self.layer}'"
        return f"layer '{self.layer}' (operator {self.index} '{self.name}', {self.kind})"


@dataclass(frozen=True)
class Difference:
    """The first run in which device and reference differ.

    `when` names the run, `what` the value; `location` is None where the operator could not be
    found, and `why_not` says why.
    """

    when: str
    what: str
    device: str
    reference: str
    location: Location | None = None
    why_not: str = ""

    def __str__(self) -> str:
        where = f" first in {self.location}" if self.location else ""
        return (
            f"device and host reference differ{where}: in {self.when} the {self.what} is "
            f"{self.device} on the device, {self.reference} on the host"
        )


@dataclass(frozen=True)
class VerifyResult:
    """A sequence that ran on both sides. Equal when nothing at all differs.

    `altered` are constants in the firmware's file that are not what was generated (none are looked
    for without the file, or when a run has differed already). `traced` says whether every
    operator's output was compared, not only results and parameters. `heard`: inputs that the
    frontend on the device made of recordings, and that were compared.
    """

    inferences: int
    steps: int
    saturations: int
    traced: bool
    tensors: tuple[TensorBits, ...]
    difference: Difference | None
    altered: tuple[AlteredConstant, ...] = ()
    heard: int = 0

    @property
    def compared_bits(self) -> int:
        """Bits of all trained parameters that were compared."""
        return sum(tensor.bits for tensor in self.tensors)

    @property
    def differing_bits(self) -> int:
        """Bits of trained parameters that differ."""
        return sum(tensor.differing for tensor in self.tensors)

    @property
    def equal(self) -> bool:
        """Whether device and reference are the same, bit for bit."""
        return self.difference is None and self.differing_bits == 0 and not self.altered


def count_bits(
    parameters: Sequence[ParameterLike], device: bytes, reference: bytes
) -> tuple[TensorBits, ...]:
    """Differing bits of each tensor in two blocks of parameters of the same length."""
    ours = np.frombuffer(device, np.uint8)
    theirs = np.frombuffer(reference, np.uint8)
    found = []
    for tensor in parameters:
        part = slice(tensor.offset, tensor.offset + tensor.bytes)
        differing = int(np.unpackbits(ours[part] ^ theirs[part]).sum())
        found.append(TensorBits(tensor.name, tensor.layer, 8 * tensor.bytes, differing))
    return tuple(found)
