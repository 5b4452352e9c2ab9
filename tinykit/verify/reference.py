"""What verification needs of its two sides: the host reference, and the device behind the link."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tinykit.link import Client
from tinykit.ops.target import Target
from tinykit.verify.result import ParameterLike

ALL_OPERATORS = 2**31 - 1


class OpLike(Protocol):
    """An operator of the manifest."""

    @property
    def index(self) -> int: ...

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def phase(self) -> str: ...

    @property
    def layer(self) -> str: ...


class ManifestLike(Protocol):
    """What verification reads in a manifest."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    @property
    def trains(self) -> bool: ...

    @property
    def ops(self) -> Sequence[OpLike]: ...

    @property
    def infer_ops(self) -> Sequence[OpLike]: ...

    @property
    def parameters(self) -> Sequence[ParameterLike]: ...

    @property
    def symbols(self) -> Mapping[str, str]: ...


class StepLike(Protocol):
    """A training step's answer."""

    @property
    def status(self) -> int: ...

    @property
    def prediction(self) -> int: ...

    @property
    def loss(self) -> float: ...

    @property
    def step(self) -> int: ...

    @property
    def saturations(self) -> int: ...

    @property
    def skipped(self) -> int: ...

    @property
    def updated(self) -> int: ...

    @property
    def rollbacks(self) -> int: ...


class Reference(Protocol):
    """The same C on the host: tinykit.host.HostModel."""

    library_path: Path

    @property
    def manifest(self) -> ManifestLike: ...

    def infer(self, sample: NDArray[np.int8]) -> NDArray[np.int8]: ...

    def train(self, sample: NDArray[np.int8], target: Target) -> StepLike: ...

    def apply(self) -> None: ...

    def reset(self) -> None: ...

    def parameters(self) -> bytes: ...

    def save(self) -> bytes: ...

    def load(self, saved: bytes) -> None: ...

    def trace(self, last: int) -> None: ...

    def trace_crc(self) -> int: ...


@dataclass(frozen=True)
class Sample:
    """One run: its input, int8 in the model's input shape; a training step with its target, or an
    inference."""

    input: NDArray[np.int8]
    trains: bool = False
    target: Target = None


@dataclass(frozen=True)
class Outcome:
    """Everything visible of one run. `values` are (what, printable value), compared as they are;
    `trace` is the CRC over the operators' outputs, or None without the trace."""

    values: tuple[tuple[str, str], ...]
    trace: int | None


def _step_values(step: StepLike, parameters_crc: int) -> tuple[tuple[str, str], ...]:
    (loss,) = struct.unpack("<I", struct.pack("<f", step.loss))
    return (
        ("status", str(step.status)),
        ("prediction", str(step.prediction)),
        ("loss", f"{step.loss!r} (0x{loss:08x})"),
        ("step number", str(step.step)),
        ("count of saturations", str(step.saturations)),
        ("count of skipped steps", str(step.skipped)),
        ("count of updated weights", str(step.updated)),
        ("count of rollbacks", str(step.rollbacks)),
        ("checksum of the parameters", f"0x{parameters_crc:08x}"),
    )


def _output_values(output: NDArray[np.int8]) -> tuple[tuple[str, str], ...]:
    flat = output.reshape(-1).view(np.int8)  # the bytes, as the device sends them
    shown = ", ".join(map(str, flat[:8])) + (", …" if flat.size > 8 else "")
    return (
        ("prediction", str(int(np.argmax(flat)))),
        ("output", f"[{shown}] (crc 0x{zlib.crc32(flat.tobytes()):08x})"),
    )


class DeviceSide:
    """Runs samples on the device."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.traces = client.hello.traces
        self._last = -1  # as a new session begins

    def run(self, sample: Sample, last: int = ALL_OPERATORS) -> Outcome:
        """One inference or training step, traced over the operators 0 … `last`."""
        if self.traces and last != self._last:
            self.client.trace(last)
            self._last = last
        if not sample.trains:
            values = _output_values(self.client.infer(sample.input))
        else:
            step = self.client.train(sample.input, sample.target)
            values = _step_values(step, self.client.parameters_crc())
        return Outcome(values, self.client.trace(last) if self.traces else None)


class HostSide:
    """Runs samples on the reference; `traced` as the device is, so that outcomes compare."""

    def __init__(self, reference: Reference, traced: bool) -> None:
        self.reference = reference
        self._traced = traced

    def run(self, sample: Sample, last: int = ALL_OPERATORS) -> Outcome:
        """One inference or training step, traced over the operators 0 … `last`."""
        self.reference.trace(last)
        if not sample.trains:
            values = _output_values(self.reference.infer(sample.input))
        else:
            step = self.reference.train(sample.input, sample.target)
            values = _step_values(step, zlib.crc32(self.reference.parameters()))
        return Outcome(values, self.reference.trace_crc() if self._traced else None)
