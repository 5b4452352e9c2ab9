"""Calls the C of tinykit/signal.h, sanitized where the process allows it, and TFLM's operators."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from tests.support.kernels import build
from tests.support.tflite_writer import Graph, write
from tinykit.frontend import AudioFrontend
from tinykit.frontend.audio import NOISE_BITS, WINDOW_BITS
from tinykit.ir import Array

U32, U64, POINTER = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p


class Fft(ctypes.Structure):
    _fields_ = (("length", U32), ("twiddles", POINTER), ("super_twiddles", POINTER))


class Bank(ctypes.Structure):
    _fields_ = (
        ("channels", U32),
        *((name, POINTER) for name in ("weights", "unweights", "bins", "offsets", "widths")),
    )


class Noise(ctypes.Structure):
    _fields_ = (
        ("smoothing", U32 * 2),
        ("one_minus_smoothing", U32 * 2),
        ("min_signal", U32),
        ("smoothing_bits", U32),
        ("bits", U32),
        ("clamping", U32),
    )


class Frontend(ctypes.Structure):
    _fields_ = (
        ("frame", U32),
        ("hop", U32),
        ("window", POINTER),
        ("window_shift", U32),
        ("fft", Fft),
        ("first_bin", U32),
        ("end_bin", U32),
        ("bank", Bank),
        ("noise", Noise),
        ("gain", POINTER),
        ("snr_shift", U32),
        ("log_scale", U32),
        ("correction", U32),
        ("coefficients", U32),
        ("basis", POINTER),
        ("basis_shift", U32),
        ("multiplier", ctypes.c_int32),
        ("divisor", ctypes.c_int32),
        ("zero_point", ctypes.c_int32),
        *(
            (name, POINTER)
            for name in (
                "samples", "filled", "scaled", "spectrum", "energy", "sums", "signal", "estimate",
                "logs",
            )
        ),
    )  # fmt: skip


@cache
def library() -> Any:
    return ctypes.CDLL(str(build(sanitize=False)))


def at(array: Array) -> int:
    assert array.flags.c_contiguous
    return int(array.ctypes.data)


class C:
    """The operators and the stream of one frontend, on memory of exactly its size."""

    def __init__(self, frontend: AudioFrontend) -> None:
        self.frontend, t = frontend, frontend.tables
        f = frontend
        self.fft = Fft(f.fft, at(t.twiddles), at(t.super_twiddles))
        self.bank = Bank(
            f.channels, at(t.weights), at(t.unweights), at(t.bins), at(t.offsets), at(t.widths)
        )
        even_odd, rest = f.smoothing()
        pair = U32 * 2
        self.noise = Noise(
            pair(*even_odd), pair(*rest), f.least_signal, f.smoothing_bits, NOISE_BITS, f.clamping
        )
        bins = f.fft // 2 + 1
        sizes = {
            "samples": (f.frame, np.int16),
            "filled": (1, np.uint32),
            "scaled": (f.frame, np.int16),
            "spectrum": (2 * bins, np.int16),
            "energy": (bins, np.uint32),
            "sums": (f.channels, np.uint64),
            "signal": (f.channels, np.uint32),
            "estimate": (f.channels, np.uint32),
            "logs": (f.channels, np.int16),
        }
        self.memory = {k: np.full(n, 0x55, dtype) for k, (n, dtype) in sizes.items()}
        assert sum(array.nbytes for array in self.memory.values()) == f.ram
        self.chain = Frontend(
            f.frame, f.hop, at(t.window), WINDOW_BITS, self.fft, f.first_bin, f.end_bin, self.bank,
            self.noise, at(t.gain) if f.pcan else None, f.snr_shift, f.log_scale, f.correction,
            f.mfcc, at(t.basis) if f.mfcc else None, f.basis_shift, f.multiplier, f.divisor,
            f.zero_point, *map(at, self.memory.values()),
        )  # fmt: skip
        library().tk_audio_frontend_reset(ctypes.byref(self.chain))

    def push(self, samples: Array, step: int) -> tuple[Array, Array]:
        """int8 rows and int16 logarithms of a recording that comes in steps."""
        rows, logs = [], []
        row, made = np.zeros(self.frontend.features, np.int8), U32()
        for start in range(0, len(samples), step):
            part = np.ascontiguousarray(samples[start : start + step], np.int16)
            while len(part):
                took = library().tk_audio_frontend_push(
                    ctypes.byref(self.chain), POINTER(at(part)), U32(len(part)), POINTER(at(row)),
                    ctypes.byref(made),
                )  # fmt: skip
                assert 0 < took <= len(part)
                part = part[took:].copy()
                if made.value:
                    rows.append(row.copy())
                    logs.append(self.memory["logs"].copy())
        f = self.frontend
        return (
            np.array(rows, np.int8).reshape(-1, f.features),
            np.array(logs, np.int16).reshape(-1, f.channels),
        )


def call(name: str, *arguments: Any) -> int:
    """A C function: arrays go by address, integers as uint32, structs by reference."""
    values = [
        POINTER(at(a)) if isinstance(a, np.ndarray)
        else U32(a) if isinstance(a, int)
        else ctypes.byref(a)
        for a in arguments
    ]  # fmt: skip
    return int(getattr(library(), name)(*values))


NAMES = {"int16": "INT16", "uint32": "UINT32", "uint64": "UINT64", "int32": "INT32"}


class Tflm:
    """One Signal* operator under TensorFlow Lite Micro; keeps its state from call to call."""

    def __init__(
        self,
        operator: str,
        options: dict[str, int | bool],
        inputs: list[Array],
        outputs: list[tuple[tuple[int, ...], str]],
        first: int = 1,
    ) -> None:
        """first: how many inputs are given in every call; the others are constants."""
        from tflite_micro.python.tflite_micro import runtime

        graph = Graph()
        places = [
            graph.tensor(x.shape, None, type=NAMES[x.dtype.name]) if i < first
            else graph.constant(x)
            for i, x in enumerate(inputs)
        ]  # fmt: skip
        made = [graph.tensor(shape, None, type=NAMES[dtype]) for shape, dtype in outputs]
        graph.operator(
            f"CUSTOM:{operator}", places, made, {"bytes": bytes(flexbuffers.Dumps(options))}
        )
        graph.inputs, graph.outputs = places[:first], made
        self.interpreter = runtime.Interpreter.from_bytes(write(graph), arena_size=1 << 18)
        self.outputs = len(made)

    def __call__(self, *inputs: Array) -> list[Array]:
        for i, x in enumerate(inputs):
            self.interpreter.set_input(x, i)
        self.interpreter.invoke()
        return [np.array(self.interpreter.get_output(i)) for i in range(self.outputs)]
