"""Every Signal* operator: C, NumPy and TensorFlow Lite Micro agree bit for bit, at extremes too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.audio_frontend import C, Tflm, call
from tinykit.frontend import AudioFrontend, reference
from tinykit.frontend.audio import NOISE_BITS, WINDOW_BITS
from tinykit.ir import Array

FRONTEND = AudioFrontend()
TABLES = FRONTEND.tables
BANK = (TABLES.bins, TABLES.offsets, TABLES.widths, TABLES.weights, TABLES.unweights)
CHANNELS = FRONTEND.channels
UINT32 = (1 << 32) - 1


def sounds(size: int, seed: int = 0) -> Iterator[Array]:
    """int16 frames: silence, extremes, a tone at full scale, noise of every loudness."""
    random = np.random.default_rng(seed)
    for value in (0, 1, -1, 32767, -32768):
        yield np.full(size, value, np.int16)
    yield np.where(np.arange(size) % 2, 32767, -32768).astype(np.int16)
    yield np.round(32767 * np.sin(np.arange(size) * 0.3)).astype(np.int16)
    yield random.choice(np.array([-32768, 32767], np.int16), size)
    for bits in range(1, 16):
        yield random.integers(-(1 << bits), 1 << bits, size).astype(np.int16)


def levels(seed: int = 0, bits: int = 32, size: int = CHANNELS) -> Iterator[Array]:
    """Unsigned numbers: the least, the largest, around every power of two, and random ones."""
    top = (1 << bits) - 1
    dtype = np.dtype(f"uint{bits}")
    edges = [min(max((1 << b) + d, 0), top) for b in range(bits + 1) for d in (-1, 0, 1)]
    edges += [n * n + d for n in (3, 255, 65535) for d in (-1, 0, n, n + 1)]
    edges += [0] * (-len(edges) % size)
    yield from np.array([e & top for e in edges], dtype).reshape(-1, size)
    random = np.random.default_rng(seed)
    for _ in range(40):
        yield random.integers(0, top, size, dtype, True) >> random.integers(0, bits, size, dtype)


def test_window() -> None:
    steep = np.random.default_rng(3).integers(-32768, 32768, 480).astype(np.int16)
    for coefficients in (TABLES.window, steep):
        golden = Tflm(
            "SignalWindow", {"shift": WINDOW_BITS},
            [steep, coefficients], [((480,), "int16")],
        )  # fmt: skip
        for x in sounds(480):
            y = np.empty_like(x)
            call("tk_signal_window", x, coefficients, 480, WINDOW_BITS, y)
            np.testing.assert_array_equal(y, golden(x)[0])
            np.testing.assert_array_equal(y, reference.window(x, coefficients, WINDOW_BITS))


def test_auto_scale() -> None:
    outputs = [((480,), "int16"), ((), "int32")]
    golden = Tflm("SignalFftAutoScale", {}, [np.zeros(480, np.int16)], outputs)
    for x in sounds(480):
        y = np.empty_like(x)
        scale = call("tk_signal_auto_scale", x, 480, y)
        wanted, wanted_scale = golden(x)
        np.testing.assert_array_equal(y, wanted)
        assert scale == wanted_scale.item()
        ours, ours_scale = reference.auto_scale(x)
        np.testing.assert_array_equal(ours, wanted)
        assert ours_scale == scale


@pytest.mark.parametrize(
    ("size", "length"), [(33, 64), (101, 128), (256, 256), (480, 512), (1000, 1024), (2048, 2048)]
)
def test_rfft(size: int, length: int) -> None:
    frontend = AudioFrontend(window_ms=size / 16, hop_ms=1, channels=2)
    assert frontend.fft == length
    t = frontend.tables
    fft = C(frontend).fft
    golden = Tflm(
        "SignalRfft", {"T": 7, "fft_length": length},
        [np.zeros(size, np.int16)], [((length + 2,), "int16")],
    )  # fmt: skip
    for x in sounds(size):
        y = np.empty(length + 2, np.int16)
        call("tk_signal_rfft", fft, x, size, y)
        np.testing.assert_array_equal(y, golden(x)[0])
        ours = reference.rfft(x, t.twiddles, t.super_twiddles)
        np.testing.assert_array_equal(ours.reshape(-1), y)


def test_energy() -> None:
    options = {"end_index": FRONTEND.end_bin, "start_index": FRONTEND.first_bin}
    used = slice(FRONTEND.first_bin, FRONTEND.end_bin)
    golden = Tflm("SignalEnergy", options, [np.zeros(514, np.int16)], [((257,), "uint32")])
    for x in sounds(514):
        y = np.zeros(257, np.uint32)
        call("tk_signal_energy", x, used.start, used.stop, y)
        np.testing.assert_array_equal(y[used], golden(x)[0][used])
        ours = reference.energy(x.reshape(-1, 2), used.start, used.stop)
        np.testing.assert_array_equal(ours[used], y[used])


def test_filter_bank() -> None:
    t = TABLES
    inputs = [np.zeros(257, np.uint32), t.weights, t.unweights, t.bins, t.offsets, t.widths]
    golden = Tflm("SignalFilterBank", {"num_channels": CHANNELS}, inputs, [((40,), "uint64")])
    bank = C(FRONTEND).bank
    for x in [np.full(257, UINT32, np.uint32), *levels(size=257)]:
        y = np.empty(CHANNELS, np.uint64)
        call("tk_signal_filter_bank", bank, x, y)
        np.testing.assert_array_equal(y, golden(x)[0])
        np.testing.assert_array_equal(reference.filter_bank(x, *BANK), y)


@pytest.mark.parametrize("shift", [0, 7, 15])
def test_square_root(shift: int) -> None:
    inputs = [np.zeros(CHANNELS, np.uint64), np.array(shift, np.int32)]
    golden = Tflm("SignalFilterBankSquareRoot", {}, inputs, [((CHANNELS,), "uint32")])
    for x in levels(bits=64):
        y = np.empty(CHANNELS, np.uint32)
        call("tk_signal_square_root", x, CHANNELS, shift, y)
        np.testing.assert_array_equal(y, golden(x)[0])
        np.testing.assert_array_equal(reference.square_root(x, shift), y)


@pytest.mark.parametrize("clamping", [False, True])
def test_noise_reduction(clamping: bool) -> None:
    frontend = AudioFrontend(clamping=clamping)
    (even, odd), (one_minus_even, one_minus_odd) = frontend.smoothing()
    options: dict[str, int | bool] = {
        "alternate_one_minus_smoothing": one_minus_odd,
        "alternate_smoothing": odd,
        "clamping": clamping,
        "min_signal_remaining": frontend.least_signal,
        "num_channels": CHANNELS,
        "one_minus_smoothing": one_minus_even,
        "smoothing": even,
        "smoothing_bits": frontend.smoothing_bits,
        "spectral_subtraction_bits": NOISE_BITS,
    }
    start = np.zeros(CHANNELS, np.uint32)
    outputs = [((CHANNELS,), "uint32")] * 2
    golden = Tflm("SignalFilterBankSpectralSubtraction", options, [start], outputs)
    config = C(frontend).noise
    noise, ours_noise = start.copy(), start.copy()
    for x in levels():
        y = np.empty(CHANNELS, np.uint32)
        call("tk_signal_noise_reduction", config, x, CHANNELS, noise, y)
        wanted, estimate = golden(x)
        np.testing.assert_array_equal(y, wanted)
        np.testing.assert_array_equal(noise, estimate)
        ours, ours_noise = reference.noise_reduction(
            x, ours_noise, (even, odd), frontend.least_signal, frontend.smoothing_bits, clamping
        )
        np.testing.assert_array_equal(ours, y)
        np.testing.assert_array_equal(ours_noise, noise)


def test_pcan() -> None:
    shift, start = FRONTEND.snr_shift, np.zeros(CHANNELS, np.uint32)
    inputs, outputs = [start, start, TABLES.gain], [((CHANNELS,), "uint32")]
    golden = Tflm("SignalPCAN", {"snr_shift": shift}, inputs, outputs, first=2)
    for x in levels(1):
        for noise in (x, x[::-1].copy(), np.random.default_rng(0).permutation(x)):
            y = x.copy()
            call("tk_signal_pcan", TABLES.gain, shift, noise, CHANNELS, y)
            np.testing.assert_array_equal(y, golden(x, noise)[0])
            np.testing.assert_array_equal(reference.pcan(x, noise, TABLES.gain, shift), y)


@pytest.mark.parametrize(("scale", "correction"), [(64, 3), (1024, 0), (1600, 5)])
def test_log(scale: int, correction: int) -> None:
    options = {"input_correction_bits": correction, "output_scale": scale}
    start = np.zeros(CHANNELS, np.uint32)
    golden = Tflm("SignalFilterBankLog", options, [start], [((CHANNELS,), "int16")])
    for x in levels():
        y = np.empty(CHANNELS, np.int16)
        call("tk_signal_log", x, CHANNELS, scale, correction, y)
        np.testing.assert_array_equal(y, golden(x)[0])
        np.testing.assert_array_equal(reference.log(x, scale, correction), y)
