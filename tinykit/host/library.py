"""Builds generated code and the runtime into a shared library and calls it through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinykit.codegen.manifest import Frontend, Manifest
from tinykit.errors import BuildError, LinkError, UsageError
from tinykit.host.runtime import run_compiler, runtime_digest, runtime_dir, runtime_objects
from tinykit.ir import Array
from tinykit.link.messages import Change
from tinykit.ops.target import Target

FLAGS = ("-std=c11", "-O2", "-g", "-ffp-contract=off", "-fPIC", "-DTK_TRACE=1")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class StepResult:
    """What a training step answers (tk_step in tinykit.h); loss is in nats, before the update."""

    status: int
    prediction: int
    loss: float
    step: int
    saturations: int
    skipped: int
    updated: int
    saturated: int
    rollbacks: int


class _Step(ctypes.Structure):
    _fields_ = (
        ("status", ctypes.c_int),
        ("prediction", ctypes.c_int32),
        ("loss", ctypes.c_float),
        ("step", ctypes.c_uint32),
        ("saturations", ctypes.c_uint32),
        ("skipped", ctypes.c_uint32),
        ("updated", ctypes.c_uint32),
        ("saturated", ctypes.c_uint32),
        ("rollbacks", ctypes.c_uint32),
    )


class _Change(ctypes.Structure):
    _fields_ = (
        ("updated", ctypes.c_uint32),
        ("moved", ctypes.c_uint64),
        ("magnitude", ctypes.c_uint64),
    )


class _Target(ctypes.Structure):
    _fields_ = (("label", ctypes.c_int32), ("values", ctypes.c_void_p))


def host_compiler() -> list[str]:
    """The C compiler of this machine: $CC, gcc, cc, clang, or pip's ziglang."""
    chosen = os.environ.get("CC", "").split()
    if chosen and shutil.which(chosen[0]):
        return chosen
    for name in ("gcc", "cc", "clang"):
        if shutil.which(name):
            return [name]
    try:
        import ziglang  # noqa: F401
    except ImportError:
        raise BuildError(
            "no C compiler on this machine for the host reference",
            "apt install gcc, or pip install ziglang",
        ) from None
    return [sys.executable, "-m", "ziglang", "cc"]


def build_library(
    generated: Path,
    manifest: Manifest,
    sanitize: bool = False,
    flags: Sequence[str] = (),
    compiler: Sequence[str] = (),
) -> Path:
    """Compile into generated/host/, once for each text of sources and flags.

    flags: more of them, which win over FLAGS; compiler: a command instead of host_compiler()
    """
    flags = [*FLAGS, *(SANITIZE if sanitize else ()), *flags]
    compiler = list(compiler) or host_compiler()
    source, header = (generated / f"{manifest.name}.{kind}" for kind in "ch")
    digest = hashlib.sha256(repr((compiler, flags, runtime_digest())).encode())
    digest.update(source.read_bytes() + header.read_bytes())
    folder = generated / "host"
    library = folder / f"{manifest.name}-{digest.hexdigest()[:16]}.so"
    if library.exists():
        return library
    objects = runtime_objects(compiler, flags)
    folder.mkdir(exist_ok=True)
    partial = library.with_suffix(f".{os.getpid()}.tmp")
    command = [*compiler, *flags, "-shared", f"-I{runtime_dir() / 'include'}", f"-I{generated}"]
    run_compiler([*command, *map(str, (source, *objects)), "-o", str(partial)])
    partial.rename(library)
    return library


class HostModel:
    """A generated model on the host; every instance has its own memory."""

    def __init__(
        self,
        generated: Path,
        sanitize: bool = False,
        flags: Sequence[str] = (),
        compiler: Sequence[str] = (),
    ) -> None:
        self.manifest = manifest = Manifest.load(generated)
        self.library_path = library = build_library(generated, manifest, sanitize, flags, compiler)
        # The loader shares a library that is opened twice: a copy gives own memory.
        with tempfile.NamedTemporaryFile(suffix=".so") as private:
            shutil.copyfile(library, private.name)
            self._library = ctypes.CDLL(private.name)
        for name in ("input_row", "row") if self.manifest.input_rows else ("input", "infer"):
            self._function(name).restype = ctypes.POINTER(ctypes.c_int8)
        if self.manifest.trains:
            self._function("train").restype = _Step
            self._function("change").restype = _Change
            self._function("parameters").restype = ctypes.POINTER(ctypes.c_uint8)
            self._function("save").restype = ctypes.c_size_t
        if self.manifest.keeps is not None:
            self._function("features").restype = ctypes.c_void_p
            self._function("replay").restype = ctypes.c_void_p
            self._function("train_features").restype = _Step
            self._function("learn").restype = _Step
        if self.manifest.guard is not None:
            self._function("guard").restype = ctypes.c_void_p
            self._function("rollbacks").restype = ctypes.c_uint32
        self.trace(-1)
        self.reset()

    def _function(self, name: str):  # type: ignore[no-untyped-def]
        return getattr(self._library, f"{self.manifest.name}_{name}")

    def reset(self) -> None:
        """Parameters and state back to their initial values, step 0."""
        self._function("init")()
        if self.manifest.frontend is not None:
            self.begin()

    @property
    def state(self) -> bytes:
        """The variables that stay from one inference to the next; may be set to what it was."""
        return ctypes.string_at(self._state(), self.manifest.state_bytes)

    @state.setter
    def state(self, saved: bytes) -> None:
        if len(saved) != self.manifest.state_bytes:
            raise UsageError(
                f"the state of {self.manifest.name} is {self.manifest.state_bytes} bytes, "
                f"got {len(saved)}"
            )
        ctypes.memmove(self._state(), saved, len(saved))

    def _state(self) -> int:
        """The block's address."""
        function = self._function("state")
        function.restype = ctypes.c_void_p
        return int(function())

    def _checked(self, sample: Array) -> Array:
        expected = self.manifest.input
        data = np.ascontiguousarray(sample)
        if data.dtype not in (np.int8, np.dtype(expected.dtype)) or data.nbytes != expected.bytes:
            raise UsageError(
                f"a sample of {self.manifest.name} is {expected.dtype}{list(expected.shape)}, "
                f"got {data.dtype}{list(data.shape)}"
            )
        return data

    def _write_input(self, sample: Array) -> None:
        data = self._checked(sample)
        ctypes.memmove(self._function("input")(), data.ctypes.data, data.nbytes)

    def _infer_rows(self, sample: Array):  # type: ignore[no-untyped-def]
        data = self._checked(sample).reshape(self.manifest.input.shape[1], -1)
        pointer = None
        for row in data:
            ctypes.memmove(self._function("input_row")(), row.ctypes.data, row.nbytes)
            pointer = self._function("row")()
        return pointer

    def infer(self, sample: Array) -> Array:
        """sample: int8, the input's shape; returns int8, the output's shape."""
        if self.manifest.input_rows:
            pointer = self._infer_rows(sample)
        else:
            self._write_input(sample)
            pointer = self._function("infer")()
        output = self.manifest.output
        raw = ctypes.string_at(pointer, output.bytes)
        return np.frombuffer(raw, np.dtype(output.dtype)).reshape(output.shape).copy()

    def begin(self) -> None:
        """Forget what was pushed: a new recording begins."""
        self._frontend()
        self._function("begin")()

    def push(self, samples: Array) -> tuple[int, Array | None]:
        """How many of int16 samples [n], or readings [n, axes], the frontend took, and what they
        completed, if anything: the input, int8 in its shape; of an input by rows the outputs.

        The rest is to be pushed again. UsageError without a frontend, or for other samples.
        """
        axes = self._frontend().axes
        x = np.ascontiguousarray(samples)
        if x.dtype != np.int16 or x.size % axes:
            raise UsageError(f"samples are int16, {axes} a reading, got {x.dtype}{list(x.shape)}")
        rows, done = self.manifest.input_rows, ctypes.c_void_p()
        taken = int(
            self._function("push")(
                ctypes.c_void_p(x.ctypes.data), ctypes.c_uint32(x.size // axes), ctypes.byref(done)
            )
        )
        if not done.value:
            return taken, None
        port = self.manifest.output if rows else self.manifest.input
        place = done.value if rows else self._function("input")()
        raw = ctypes.string_at(place, port.bytes)
        return taken, np.frombuffer(raw, np.dtype(port.dtype)).reshape(port.shape).copy()

    def _frontend(self) -> Frontend:
        if self.manifest.frontend is None:
            raise UsageError(
                f"{self.manifest.name} was made without a frontend",
                "[frontend] in tinykit.toml says what makes its input of samples",
            )
        return self.manifest.frontend

    def train(self, sample: Array, target: Target) -> StepResult:
        """One training step on one sample.

        target: a class number; int8 values, quantized as the manifest says; or None, where the
        input is its own target.
        """
        self._write_input(sample)
        return self._step("train", target)

    @property
    def _kept_bytes(self) -> int:
        """Of one sample; UsageError where the model keeps none."""
        if self.manifest.keeps is None:
            raise UsageError(
                f"{self.manifest.name} keeps no samples",
                'the update plan needs [training] keep = "features" or "input", or [replay]',
            )
        return self.manifest.keeps.bytes

    def features(self) -> Array | None:
        """What is kept of the last sample, int8 [n]; None when nothing has run yet."""
        size = self._kept_bytes
        pointer = self._function("features")()
        return np.frombuffer(ctypes.string_at(pointer, size), np.int8).copy() if pointer else None

    def train_features(self, features: Array, target: Target) -> StepResult:
        """A training step on what was kept of a sample."""
        if features.dtype != np.int8 or features.size != self._kept_bytes:
            raise UsageError(
                f"features of {self.manifest.name} are {self._kept_bytes} int8, got "
                f"{features.dtype}{list(features.shape)}"
            )
        kept = np.ascontiguousarray(features)
        return self._step("train_features", target, ctypes.c_void_p(kept.ctypes.data))

    def learn(self, target: Target) -> StepResult:
        """A training step on the last sample that ran; status 6 when there is none."""
        assert self._kept_bytes
        return self._step("learn", target)

    @property
    def replay(self) -> bytes:
        """All that is kept: the last sample and past ones; may be set to what it was."""
        assert self._kept_bytes
        assert self.manifest.keeps
        return ctypes.string_at(self._function("replay")(), self.manifest.keeps.block_bytes)

    @replay.setter
    def replay(self, saved: bytes) -> None:
        if len(saved) != len(self.replay):
            raise UsageError(
                f"{self.manifest.name} keeps {len(self.replay)} bytes, got {len(saved)}"
            )
        ctypes.memmove(self._function("replay")(), saved, len(saved))

    @property
    def _guard_bytes(self) -> int:
        if self.manifest.guard is None:
            raise UsageError(
                f"{self.manifest.name} has no guard", "the update plan needs a section [guard]"
            )
        return self.manifest.guard.block_bytes

    def rollback(self) -> None:
        """Back to the guard's snapshot, as it does by itself."""
        assert self._guard_bytes
        self._function("rollback")()

    @property
    def rollbacks(self) -> int:
        """How often the guard went back."""
        assert self._guard_bytes
        return int(self._function("rollbacks")())

    @property
    def guard(self) -> bytes:
        """All that the guard keeps; may be set to what it was."""
        return ctypes.string_at(self._function("guard")(), self._guard_bytes)

    @guard.setter
    def guard(self, saved: bytes) -> None:
        if len(saved) != self._guard_bytes:
            raise UsageError(
                f"the guard of {self.manifest.name} keeps {self._guard_bytes} bytes, "
                f"got {len(saved)}"
            )
        ctypes.memmove(self._function("guard")(), saved, len(saved))

    def _step(self, name: str, target: Target, *before: ctypes.c_void_p) -> StepResult:
        told: _Target | None = None
        if isinstance(target, np.ndarray):
            form = self.manifest.target
            if form is None or target.size != form.values or target.dtype != np.int8:
                raise UsageError(
                    f"a target of {target.dtype}{list(target.shape)}; {self.manifest.name} takes "
                    + ("none" if form is None else form.form.wanted())
                )
            target = np.ascontiguousarray(target)
            told = _Target(0, target.ctypes.data)
        elif target is not None:
            told = _Target(int(target), None)
        step = self._function(name)(*before, ctypes.byref(told) if told is not None else None)
        return StepResult(*(getattr(step, name) for name, _ in _Step._fields_))

    def apply(self) -> None:
        """End an accumulation early."""
        self._function("apply")()

    def changes(self) -> tuple[Change, ...]:
        """What the last step did to each trained tensor, biases first."""
        told = map(self._function("change"), range(len(self.manifest.trained)))
        return tuple(Change(x.updated, x.moved, x.magnitude) for x in told)

    def parameters(self) -> bytes:
        """The block of trained parameters, laid out as the manifest says."""
        return ctypes.string_at(self._function("parameters")(), self.manifest.parameter_bytes)

    def save(self) -> bytes:
        """What was learnt, as the device saves it."""
        buffer = ctypes.create_string_buffer(self.manifest.save_bytes)
        size = self._function("save")(buffer, ctypes.c_size_t(self.manifest.save_bytes))
        return buffer.raw[:size]

    def load(self, saved: bytes) -> None:
        """Take over what was saved; LinkError when it does not fit this model."""
        status = self._function("load")(saved, ctypes.c_size_t(len(saved)))
        if status != 0:
            raise LinkError(f"saved parameters refused with status {status}")

    def trace(self, last: int) -> None:
        """Let the CRC run over the outputs of ops 0 … last from now on; -1 is off."""
        ctypes.c_int32.in_dll(self._library, "tk_trace_last").value = last
        ctypes.c_uint32.in_dll(self._library, "tk_trace_crc").value = 0

    def trace_crc(self) -> int:
        """The running CRC since trace() was called."""
        return ctypes.c_uint32.in_dll(self._library, "tk_trace_crc").value

    def infer_crc(self, sample: Array, last: int) -> int:
        """CRC-32 over the outputs of infer()'s ops 0 … last."""
        self.trace(last)
        self.infer(sample)
        return self.trace_crc()

    def train_crc(self, sample: Array, target: Target, last: int) -> int:
        """CRC-32 over the outputs of train()'s ops 0 … last; the step is carried out."""
        self.trace(last)
        self.train(sample, target)
        return self.trace_crc()
