"""TFLM's audio preprocessor, a .tflite of Signal* custom operators, read as a frontend.

Such a model makes one row of features of one window of samples:

    SignalWindow, SignalFftAutoScale, SignalRfft, SignalEnergy, SignalFilterBank,
    SignalFilterBankSquareRoot, SignalFilterBankSpectralSubtraction, SignalPCAN (or not),
    SignalFilterBankLog

and then, for a model of int8, an affine function in integers.  Between them stand CAST and RESHAPE,
and the slices that zero energies outside of their range.  All numbers are the file's; only the
sample rate and how far the window moves are not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from flatbuffers import flexbuffers

from tinykit.errors import ModelError, UsageError
from tinykit.frontend.audio import NOISE_BITS, WINDOW_BITS, AudioFrontend, AudioTables, transform
from tinykit.importers.tflite_file import FileGraph, FileOperator, read_tflite
from tinykit.ir import Array

SIGNAL = "CUSTOM Signal"
WINDOW, SCALE, RFFT, ENERGY, BANK, ROOT, NOISE, PCAN, LOG = CHAIN = (
    "SignalWindow", "SignalFftAutoScale", "SignalRfft", "SignalEnergy", "SignalFilterBank",
    "SignalFilterBankSquareRoot", "SignalFilterBankSpectralSubtraction", "SignalPCAN",
    "SignalFilterBankLog",
)  # fmt: skip
PASSING = ("CAST", "RESHAPE", "EXPAND_DIMS", "SQUEEZE", "STRIDED_SLICE", "CONCATENATION")
ONE_FRONTEND = f"a frontend is {', '.join(CHAIN)}"
INT16 = 7  # kTfLiteInt16
ALL_FEATURES = np.arange(32768)  # that SignalFilterBankLog can make


@dataclass(frozen=True)
class Numbers:
    """What a file says; the names are those of AudioFrontend's properties."""

    frame: int
    fft: int
    first_bin: int
    end_bin: int
    smoothing: tuple[tuple[int, int], tuple[int, int]]
    least_signal: int
    correction: int
    snr_shift: int
    tables: AudioTables


@dataclass(frozen=True)
class FileFrontend(AudioFrontend):
    """A frontend whose tables and shifts come from a file.

    final: its multiplier, divisor and zero point are the file's, too. feature_scale: what one unit
    of a feature is in the file's float output, if that is float.
    """

    numbers: Numbers | None = None
    final: bool = False
    feature_scale: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= self.frame:
            raise UsageError(
                f"frontend: hop_ms = {self.hop_ms!r}: it must be from one sample to the window's "
                f"{self.frame}"
            )
        if not 0 <= self.mfcc <= self.channels:
            raise UsageError(f"frontend: mfcc = {self.mfcc}: it must be from 0 to {self.channels}")

    @property
    def _known(self) -> Numbers:
        assert self.numbers is not None
        return self.numbers

    @property
    def frame(self) -> int:
        return self._known.frame

    @property
    def fft(self) -> int:
        return self._known.fft

    @property
    def first_bin(self) -> int:
        return self._known.first_bin

    @property
    def end_bin(self) -> int:
        return self._known.end_bin

    @property
    def correction(self) -> int:
        return self._known.correction

    @property
    def snr_shift(self) -> int:
        return self._known.snr_shift

    @property
    def least_signal(self) -> int:
        return self._known.least_signal

    def smoothing(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return self._known.smoothing

    @cached_property
    def tables(self) -> AudioTables:
        return replace(self._known.tables, basis=self._basis())


def read_preprocessor(
    path: Path, *, sample_rate: int, hop_ms: float, mfcc: int = 0, mfcc_ortho: bool = False
) -> FileFrontend:
    """The frontend that a .tflite file is, for sound of that rate in hertz.

    ModelError where the file is no such model, UsageError where the arguments do not fit it.
    """
    (graph, *_) = read_tflite(path)
    try:
        return _Chain(graph).frontend(sample_rate, hop_ms, mfcc, mfcc_ortho)
    except ModelError as error:
        raise ModelError(f"{path}: {error.message}", error.hint) from None


class _Chain:
    """The operators of a file, by name, once they are known to form a frontend."""

    def __init__(self, graph: FileGraph) -> None:
        self.graph = graph
        self.stages: dict[str, tuple[int, FileOperator]] = {}
        self.tail: list[tuple[int, FileOperator]] = []
        wanted = list(CHAIN)
        self.origin = dict.fromkeys(graph.inputs, "input")
        previous = "input"
        for index, op in enumerate(graph.operators):
            name = op.builtin.removeprefix("CUSTOM ")
            if LOG in self.stages:
                self.tail.append((index, op))
                continue
            if name not in CHAIN:
                self._pass(index, op)
                continue
            if wanted[0] == PCAN and name == LOG:
                wanted.pop(0)
            self._expect(
                index, op, bool(wanted) and name == wanted[0], f"where {wanted[0]} should be"
            )
            wanted.pop(0)
            self._expect_input(index, op, 0, previous)
            if name in (ROOT, PCAN):
                self._expect_input(index, op, 1, f"{SCALE if name == ROOT else NOISE}.1")
            self.stages[name] = index, op
            self.origin |= {t: f"{name}.{i}" for i, t in enumerate(op.outputs)}
            previous = f"{name}.0"
        if LOG not in self.stages:
            raise ModelError(f"has no {wanted[0]}", ONE_FRONTEND)

    def _pass(self, index: int, op: FileOperator) -> None:
        """What moves values along, or zeroes some of them."""
        moved = [t for t in op.inputs if t in self.origin]
        rest = [self.graph.tensors[t].data for t in op.inputs if t >= 0 and t not in self.origin]
        constant = [data for data in rest if data is not None]
        zeros = op.builtin != "CONCATENATION" or not any(data.any() for data in constant)
        known = op.builtin in PASSING and len(constant) == len(rest)
        self._expect(index, op, known and zeros and len(moved) == 1, "is no part of a frontend")
        self.origin |= dict.fromkeys(op.outputs, self.origin[moved[0]])

    def _expect(self, index: int, op: FileOperator, holds: bool, message: str) -> None:
        if not holds:
            name = f"{op.builtin} #{index} (version {op.version})"
            raise ModelError(f"{name}: {message}", ONE_FRONTEND)

    def _expect_input(self, index: int, op: FileOperator, i: int, wanted: str) -> None:
        found = self.origin.get(op.inputs[i]) if i < len(op.inputs) else None
        self._expect(
            index, op, found == wanted, f"input {i} is {found or 'something else'}, not {wanted}"
        )

    # --- its numbers -----------------------------------------------------------------------------

    def frontend(
        self, sample_rate: int, hop_ms: float, mfcc: int, mfcc_ortho: bool
    ) -> FileFrontend:
        window = self._table(WINDOW, 1)
        fft = self._option(RFFT, "fft_length", 64, 4096)
        self._check(WINDOW, 33 <= len(window) <= fft, f"{len(window)} samples, an FFT of {fft}")
        self._check(WINDOW, self._option(WINDOW, "shift", 0, 31) == WINDOW_BITS, "shift is not 12")
        self._check(RFFT, fft & (fft - 1) == 0, f"fft_length {fft} is no power of two")
        self._check(RFFT, self._option(RFFT, "T", 0, 255) == INT16, "is not of int16")
        first = self._option(ENERGY, "start_index", 0, fft // 2)
        end = self._option(ENERGY, "end_index", first + 1, fft // 2 + 1)
        channels = self._option(BANK, "num_channels", 1, 128)
        smoothing = (self._noise("smoothing"), self._noise("alternate_smoothing"))
        rest = (self._noise("one_minus_smoothing"), self._noise("alternate_one_minus_smoothing"))
        bits = self._option(NOISE, "spectral_subtraction_bits", 0, 31)
        self._check(NOISE, bits == NOISE_BITS, "spectral_subtraction_bits is not 14")
        pcan = PCAN in self.stages
        gain = self._table(PCAN, 2) if pcan else np.zeros(0, np.int16)
        self._check(PCAN, not pcan or len(gain) == 125, f"a table of {len(gain)} values, not 125")
        weights, unweights, bins, offsets, widths = self._filters(channels, first, end, fft)
        twiddles, super_twiddles = transform(fft)
        numbers = Numbers(
            frame=len(window),
            fft=fft,
            first_bin=first,
            end_bin=end,
            smoothing=(smoothing, rest),
            least_signal=self._noise("min_signal_remaining"),
            correction=self._option(LOG, "input_correction_bits", 0, 15),
            snr_shift=self._option(PCAN, "snr_shift", 0, 31) if pcan else 0,
            tables=AudioTables(
                window, twiddles, super_twiddles, weights, unweights, bins, offsets, widths, gain,
                np.zeros((0, channels), np.int16),
            ),
        )  # fmt: skip
        found = FileFrontend(
            sample_rate=sample_rate,
            window_ms=1000 * len(window) / sample_rate,
            hop_ms=hop_ms,
            channels=channels,
            smoothing_bits=self._option(NOISE, "smoothing_bits", 0, 15),
            clamping=bool(self._option(NOISE, "clamping", 0, 1)),
            pcan=pcan,
            log_scale=self._option(LOG, "output_scale", 1, 32767),
            mfcc=mfcc,
            mfcc_ortho=mfcc_ortho,
            numbers=numbers,
        )
        return self._with_tail(found)

    def _noise(self, name: str) -> int:
        return self._option(NOISE, name, 0, 1 << NOISE_BITS)

    def _check(self, stage: str, holds: bool, message: str) -> None:
        if not holds:
            self._expect(*self.stages[stage], False, message)

    def _option(self, stage: str, name: str, low: int, high: int) -> int:
        _, op = self.stages[stage]
        try:
            value = int(flexbuffers.Loads(op.custom)[name])
        except Exception:  # damaged bytes make the reader raise anything
            value = low - 1
        self._check(stage, low <= value <= high, f"{name} is not there, or not {low} to {high}")
        return value

    def _table(self, stage: str, i: int) -> Array:
        """A constant int16 input, flat."""
        _, op = self.stages[stage]
        tensor = self.graph.tensors[op.inputs[i]] if i < len(op.inputs) else None
        data = None if tensor is None else tensor.data
        self._check(stage, data is not None and data.dtype == np.int16, f"input {i} is no table")
        assert data is not None
        return data.reshape(-1).astype(np.int16)

    def _filters(self, channels: int, first: int, end: int, fft: int) -> tuple[Array, ...]:
        """Weights, unweights, bins, offsets, widths, without what files pad them with: bins whose
        energy is zero."""
        weights, unweights, bins, offsets, widths = (
            self._table(BANK, i).astype(np.int64) for i in range(1, 6)
        )
        sound = (
            len(bins) == len(offsets) == len(widths) == channels + 1
            and min(bins.min(), offsets.min(), widths.min()) >= 0
            and (bins + widths).max() <= fft // 2 + 1
            and (offsets + widths).max() <= min(len(weights), len(unweights))
            and min(weights.min(), unweights.min()) >= 0
        )
        self._check(BANK, bool(sound), "its tables reach outside of each other")
        starts, places = [], []
        for bin_, offset, width in zip(bins, offsets, widths, strict=True):
            at = np.arange(offset, offset + width)
            inside = (at - offset + bin_ >= first) & (at - offset + bin_ < end)
            used = at[inside & ((weights[at] != 0) | (unweights[at] != 0))]
            places.append(np.arange(used[0], used[-1] + 1) if used.size else used)
            starts.append(used[0] - offset + bin_ if used.size else first)
        kept, cut = np.concatenate(places), np.array([len(place) for place in places])
        found = (weights[kept], unweights[kept], np.array(starts), np.cumsum(cut) - cut, cut)
        return tuple(table.astype(np.int16) for table in found)

    # --- after the logarithm ---------------------------------------------------------------------

    def _with_tail(self, found: FileFrontend) -> FileFrontend:
        """With what the file does with features: nothing, a real factor, or to int8."""
        outputs = self.graph.outputs
        values = dict[int, Array]({self.stages[LOG][1].outputs[0]: ALL_FEATURES.astype(np.int16)})
        constants: dict[str, int] = {"MUL": 1, "DIV": 1}
        for index, op in self.tail:
            self._evaluate(index, op, values, constants)
        if len(outputs) != 1 or outputs[0] not in values:
            raise ModelError(
                "its output is not what follows from SignalFilterBankLog", ONE_FRONTEND
            )
        y = values[outputs[0]]
        if y.dtype == np.int16 and not self.tail:
            return found
        if y.dtype == np.float32:
            scale = float(y[-1]) / int(ALL_FEATURES[-1])
            if scale > 0 and np.allclose(y, ALL_FEATURES * scale, rtol=1e-6):
                return replace(found, feature_scale=scale)
        if y.dtype == np.int8:
            multiplier, divisor, zero_point = constants["MUL"], constants["DIV"], int(y[0])
            scaled = (ALL_FEATURES * multiplier + divisor // 2) // divisor + zero_point
            in_range = 1 <= multiplier <= 65536 and 1 <= divisor <= 65536
            if in_range and np.array_equal(scaled.clip(-128, 127), y):
                return replace(
                    found, multiplier=multiplier, divisor=divisor, zero_point=zero_point, final=True
                )
        raise ModelError(
            f"what follows SignalFilterBankLog makes {y.dtype} of features in another way than "
            "(feature * m + d / 2) / d + z",
            "let the file end with SignalFilterBankLog, and give feature_scale in [frontend]",
        )

    def _evaluate(
        self, index: int, op: FileOperator, values: dict[int, Array], constants: dict[str, int]
    ) -> None:
        """One operator of the tail, on every feature there is."""
        tensors = self.graph.tensors
        operands = list(_operands(op, values, [t.data for t in tensors]))
        dtype = {"INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "FLOAT32": np.float32}.get(
            tensors[op.outputs[0]].type
        )
        known = op.builtin in TAIL and len(operands) == (1 if op.builtin in PASSING else 2)
        self._expect(index, op, known and dtype is not None, "is no part of a frontend")
        assert dtype is not None
        if op.builtin in constants and operands[1].size == 1 and operands[1].dtype.kind == "i":
            constants[op.builtin] *= int(operands[1])
        with np.errstate(all="ignore"):
            values[op.outputs[0]] = TAIL[op.builtin](*operands).astype(dtype)


def _operands(
    op: FileOperator, values: dict[int, Array], data: list[Array | None]
) -> Iterator[Array]:
    for i in op.inputs[: 1 if op.builtin in PASSING else 2]:
        known = values.get(i, data[i])
        if known is not None and (i in values or known.size == 1):
            yield known if i in values else known.reshape(-1)[0]


def _divided(x: Array, y: Array) -> Array:
    """Integers towards 0, as TFLM's DIV does it."""
    whole: Array = np.trunc(x / y.astype(np.float64)) if y.dtype.kind == "i" else x / y
    return whole


def _same(x: Array) -> Array:
    return x


TAIL: dict[str, Callable[..., Array]] = {
    "CAST": _same, "RESHAPE": _same, "EXPAND_DIMS": _same, "SQUEEZE": _same,
    "MUL": np.multiply, "ADD": np.add, "SUB": np.subtract, "DIV": _divided,
    "MAXIMUM": np.maximum, "MINIMUM": np.minimum,
}  # fmt: skip
