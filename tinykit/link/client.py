"""The host's end of the link: one object per device, one method per thing it can do."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tinykit.errors import LinkError, UsageError
from tinykit.link.messages import PROTOCOL_VERSION, Change, Counters, Hello, Kind, Step, Telemetry
from tinykit.link.session import Session

Target = int | NDArray[Any] | None
Labels = Sequence[int] | NDArray[np.int32] | NDArray[np.int64]
Progress = Callable[[int, int], None]
"""Called with (done, total)."""


class ModelIdentity(Protocol):
    """What a manifest says about which model it belongs to."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...


@dataclass(frozen=True)
class Evaluation:
    """Predictions for a set of labelled samples."""

    predictions: tuple[int, ...]
    correct: int

    @property
    def accuracy(self) -> float:
        """Share of correct predictions, 0 … 1."""
        return self.correct / len(self.predictions) if self.predictions else 0.0


class Client:
    """Talks to the firmware at a pyserial URL.

    Opens a session of its own; a device that another program has used before needs no reset. With a
    manifest, a firmware made from another model is refused. A request without a reply within
    `timeout` seconds is sent again up to `retries` times, and is done once in any case; once the
    device has said that its model is running, that may take `compute_timeout` seconds.
    `elf` is the firmware's file, if known: faults then name their function, and verification also
    compares its constants.
    """

    def __init__(
        self,
        url: str,
        manifest: ModelIdentity | None = None,
        *,
        timeout: float = 2.0,
        retries: int = 4,
        compute_timeout: float = 120.0,
        baudrate: int = 115200,
        elf: Path | None = None,
    ) -> None:
        self.url = url
        self.elf = elf
        self._session = Session(
            url,
            timeout=timeout,
            retries=retries,
            compute_timeout=compute_timeout,
            baudrate=baudrate,
            elf=elf,
        )
        try:
            self.hello = self._greet(manifest)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the port; the device keeps what it has learnt."""
        self._session.close()

    def _greet(self, manifest: ModelIdentity | None) -> Hello:
        hello = Hello.parse(self._session.request(Kind.HELLO, struct.pack("<H", PROTOCOL_VERSION)))
        if manifest is not None and hello.identity != manifest.identity:
            raise LinkError(
                f"the firmware on {self.url} holds model '{hello.name}' ({hello.identity[:8]}), "
                f"not '{manifest.name}' ({manifest.identity[:8]})",
                "build and flash the firmware of this model",
            )
        return hello

    def _require_training(self) -> None:
        if not self.hello.trains:
            raise LinkError(
                f"the firmware of model '{self.hello.name}' only infers",
                "generate it with an update plan and build it again",
            )

    # ---- blocks of data ----

    def _write(self, kind: Kind, data: bytes, progress: Progress | None = None) -> None:
        room = self.hello.payload - 4
        for offset in range(0, len(data), room):
            chunk = data[offset : offset + room]
            self._session.request(kind, struct.pack("<I", offset) + chunk)
            if progress is not None:
                progress(offset + len(chunk), len(data))

    def _read(self, kind: Kind, size: int, progress: Progress | None = None) -> bytes:
        out = bytearray()
        while len(out) < size:
            count = min(self.hello.payload, size - len(out))
            part = self._session.request(kind, struct.pack("<II", len(out), count))
            if len(part) != count:
                raise LinkError(f"{kind.name} on {self.url} gave {len(part)} bytes, not {count}")
            out += part
            if progress is not None:
                progress(len(out), size)
        return bytes(out)

    def _write_input(self, sample: NDArray[np.int8]) -> int:
        if sample.dtype != np.int8:
            raise UsageError(
                f"samples are int8 (quantized as the model's input), not {sample.dtype}"
            )
        data = sample.tobytes()
        if len(data) != self.hello.input_bytes:
            raise UsageError(
                f"a sample of {len(data)} bytes does not fit model '{self.hello.name}': "
                f"its input has {self.hello.input_bytes}"
            )
        self._write(Kind.WRITE_INPUT, data)
        return zlib.crc32(data)

    # ---- what a device does ----

    def infer(self, sample: NDArray[np.int8]) -> NDArray[np.int8]:
        """The model's outputs, int8, flat, for one sample of int8 in the input's shape."""
        return self.infer_held(self._write_input(sample))

    def infer_held(self, crc: int) -> NDArray[np.int8]:
        """Likewise for the input that the device holds, if it has this checksum."""
        reply = self._session.request(Kind.INFER, struct.pack("<I", crc))
        size = self.hello.output_bytes
        output = reply[4:] if len(reply) == 4 + size else self._read(Kind.READ_OUTPUT, size)
        if len(reply) < 4 or zlib.crc32(output) != int.from_bytes(reply[:4], "little"):
            raise LinkError(f"the outputs from {self.url} do not match their checksum")
        return np.frombuffer(output, np.int8)

    def train(self, sample: NDArray[np.int8], target: Target) -> Step:
        """One training step on the device: forward, loss, backward, update.

        target: a class number; int8 values, quantized as the manifest says; or None, where the
        input is its own target.
        """
        self._require_training()
        told = self._write_target(target)
        request = struct.pack("<I", self._write_input(sample)) + told
        return Step.parse(self._session.request(Kind.TRAIN, request))

    def learn(self, target: Target) -> Step:
        """One training step on the sample that ran last, an inference's as a rule, as `train`."""
        self._require_training()
        if not self.hello.learns:
            raise LinkError(
                f"the firmware of model '{self.hello.name}' keeps no samples",
                'generate it with a plan that has [training] keep = "features", and build it again',
            )
        return Step.parse(self._session.request(Kind.LEARN, self._write_target(target)))

    def _write_target(self, target: Target) -> bytes:
        """What a request says of its target; a vector is written first."""
        if isinstance(target, np.ndarray):
            values = np.ascontiguousarray(target, np.int8).tobytes()
            self._write(Kind.WRITE_TARGET, values)
            return struct.pack("<iI", 0, zlib.crc32(values))
        label = 0 if target is None else int(target)
        if not -(2**31) <= label < 2**31:
            raise UsageError(f"label {label} is no class number")
        return struct.pack("<i", label)

    def begin(self) -> None:
        """A new recording begins: the device's frontend forgets what was pushed."""
        self._require_hearing()
        self._session.request(Kind.BEGIN)

    def push(self, samples: NDArray[np.int16]) -> tuple[int, int | None]:
        """How many of int16 samples [n], or readings [n, axes], the device's frontend took of those
        that fit into a frame; and the checksum of its input where that is complete now.

        The rest is to be pushed again, after `infer_held` of a complete input.
        """
        self._require_hearing()
        values = np.ascontiguousarray(samples, np.dtype("<i2"))
        if samples.dtype != np.int16 or not samples.size:
            raise UsageError(f"samples are int16, at least one, not {samples.dtype}{samples.shape}")
        room = self.hello.payload // (values[0].size * 2)
        reply = self._session.request(Kind.PUSH, values[:room].tobytes())
        if len(reply) != 12:
            raise LinkError(f"the device's reply to PUSH has {len(reply)} bytes instead of 12")
        taken, ready, crc = struct.unpack("<III", reply)
        if not 0 < taken <= min(room, len(values)):
            raise LinkError(f"the device says that it took {taken} of {min(room, len(values))}")
        return taken, crc if ready else None

    def _require_hearing(self) -> None:
        if not self.hello.hears:
            raise LinkError(
                f"the firmware of model '{self.hello.name}' has no frontend",
                "say in tinykit.toml what [frontend] it has, and build it again",
            )

    def apply(self) -> None:
        """Ends an accumulation of several samples early."""
        self._require_training()
        self._session.request(Kind.APPLY)

    def reset(self) -> None:
        """The parameters back to those the firmware was built with, step 0."""
        self._require_training()
        self._session.request(Kind.RESET)

    def parameters(self, progress: Progress | None = None) -> bytes:
        """All trained parameters, as the manifest lays them out."""
        self._require_training()
        data = self._read(Kind.READ_PARAMETERS, self.hello.parameter_bytes, progress)
        if zlib.crc32(data) != self.parameters_crc():
            raise LinkError(f"the parameters read from {self.url} do not match their checksum")
        return data

    def parameters_crc(self) -> int:
        """The CRC-32 of all trained parameters, computed by the device."""
        self._require_training()
        return int.from_bytes(self._session.request(Kind.CHECK_PARAMETERS), "little")

    def save(self, progress: Progress | None = None) -> bytes:
        """What was learnt, in the model's own form, to be given back to `load`."""
        self._require_training()
        reply = self._session.request(Kind.SAVE)
        if len(reply) != 8:
            raise LinkError(f"the device's reply to SAVE has {len(reply)} bytes instead of 8")
        size, crc = struct.unpack("<II", reply)
        if size > self.hello.save_bytes:
            raise LinkError(f"SAVE announces {size} bytes, HELLO at most {self.hello.save_bytes}")
        data = self._read(Kind.READ_SAVED, size, progress)
        if zlib.crc32(data) != crc:
            raise LinkError(f"the saved parameters from {self.url} do not match their checksum")
        return data

    def load(self, saved: bytes, progress: Progress | None = None) -> None:
        """Gives back what `save` returned. Another model's, or a damaged one, is refused."""
        self._require_training()
        if len(saved) > self.hello.save_bytes:
            raise UsageError(
                f"saved parameters of {len(saved)} bytes are not of model '{self.hello.name}' "
                f"(at most {self.hello.save_bytes})"
            )
        self._write(Kind.WRITE_SAVED, saved, progress)
        self._session.request(Kind.LOAD, struct.pack("<II", len(saved), zlib.crc32(saved)))

    def counters(self) -> Counters:
        """What the device counted."""
        return Counters.parse(self._session.request(Kind.COUNTERS))

    def telemetry(self) -> Telemetry:
        """The last training step, and what it did to every trained tensor."""
        self._require_training()
        changes: list[Change] = []
        while True:
            request = struct.pack("<I", len(changes))
            part = Telemetry.parse(self._session.request(Kind.TELEMETRY, request))
            changes += part.changes
            if len(changes) >= part.trained:
                return replace(part, changes=tuple(changes))
            if not part.changes:
                raise LinkError(f"{self.url} tells of {len(changes)} trained tensors, not of all")

    def trace(self, last: int) -> int:
        """The CRC of the last run's trace; the next run's covers ops 0 … `last` (-1: none)."""
        if not self.hello.traces:
            raise LinkError(
                f"the firmware on {self.url} was built without the layer trace",
                "build it with the trace: `tinykit build --trace`",
            )
        return int.from_bytes(self._session.request(Kind.TRACE, struct.pack("<i", last)), "little")

    # ---- many samples ----

    def evaluate(
        self,
        samples: NDArray[np.int8],
        labels: Labels,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Predictions (the largest output) for samples [n, …], compared with n labels."""
        predictions = []
        correct = 0
        for index, (sample, label) in enumerate(_pairs(samples, labels)):
            predictions.append(int(np.argmax(self.infer(sample))))
            correct += predictions[-1] == label
            if progress is not None:
                progress(index + 1, len(samples))
        return Evaluation(tuple(predictions), correct)

    def train_all(
        self,
        samples: NDArray[np.int8],
        labels: Labels,
        progress: Progress | None = None,
    ) -> list[Step]:
        """One step for each of samples [n, …] with n labels, in order."""
        steps = []
        for index, (sample, label) in enumerate(_pairs(samples, labels)):
            steps.append(self.train(sample, label))
            if progress is not None:
                progress(index + 1, len(samples))
        return steps


def _pairs(samples: NDArray[np.int8], labels: Labels) -> Iterable[tuple[NDArray[np.int8], int]]:
    if len(samples) != len(labels):
        raise UsageError(f"{len(samples)} samples but {len(labels)} labels")
    return ((sample, int(label)) for sample, label in zip(samples, labels, strict=True))
