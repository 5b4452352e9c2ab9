"""The whole chain, streamed: C and NumPy against TensorFlow Lite Micro's operators and against the
older microfrontend (PyPI pymicro-features), on speech, noise and extremes."""

from __future__ import annotations

import ctypes
import io
import subprocess
import wave
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.audio_frontend import C, Tflm, at
from tests.support.kernels import RUNTIME, SANITIZE
from tinykit.errors import UsageError
from tinykit.frontend import AudioFrontend, frontend_files
from tinykit.frontend.audio import NOISE_BITS, WINDOW_BITS
from tinykit.frontend.reference import AudioReference
from tinykit.ir import Array

WIDE = AudioFrontend()
NARROW = AudioFrontend(
    sample_rate=8000, window_ms=25, hop_ms=10, channels=20, lower_hz=60, upper_hz=3800,
    clamping=True, log_scale=128, multiplier=1, divisor=8, zero_point=-100,
)  # fmt: skip
PLAIN = AudioFrontend(window_ms=64, hop_ms=64, channels=10, pcan=False, min_signal=1)
CEPSTRA = AudioFrontend(mfcc=13, pcan=False, min_signal=1, multiplier=1, divisor=9, zero_point=5)


@cache
def recording(name: str) -> Array:
    """int16 samples of made sounds."""
    random = np.random.default_rng(7)
    noise = random.normal(0, 1, 16000)
    n = np.arange(16000)
    sounds = {
        "noise": noise * random.choice([0, 1, 30, 1000, 9000, 40000], 100).repeat(160),
        "chirp": 20000 * np.sin(n * n * 1e-4),
        "steps": np.where(n // 1000 % 2, 32767, -32767),
        "rails": np.where(n // 1000 % 2, 32767, -32768),
        "least": np.full(16000, -32768),
    }
    return sounds[name].clip(-32768, 32767).astype(np.int16)


def tflm_chain(f: AudioFrontend, samples: Array) -> Array:
    """int16 [rows, channels] from TFLM's nine operators, one after the other."""
    t, zeros = f.tables, np.zeros
    channels, bins = f.channels, f.fft // 2 + 1
    (even, odd), (rest_even, rest_odd) = f.smoothing()
    wide = [((channels,), "uint32")]
    window = Tflm(
        "SignalWindow", {"shift": WINDOW_BITS},
        [zeros(f.frame, np.int16), t.window], [((f.frame,), "int16")],
    )  # fmt: skip
    scale = Tflm(
        "SignalFftAutoScale", {}, [zeros(f.frame, np.int16)], [((f.frame,), "int16"), ((), "int32")]
    )
    rfft = Tflm(
        "SignalRfft", {"T": 7, "fft_length": f.fft},
        [zeros(f.frame, np.int16)], [((2 * bins,), "int16")],
    )  # fmt: skip
    energy = Tflm(
        "SignalEnergy", {"end_index": f.end_bin, "start_index": f.first_bin},
        [zeros(2 * bins, np.int16)], [((bins,), "uint32")],
    )  # fmt: skip
    bank = Tflm(
        "SignalFilterBank", {"num_channels": channels},
        [zeros(bins, np.uint32), t.weights, t.unweights, t.bins, t.offsets, t.widths],
        [((channels,), "uint64")],
    )  # fmt: skip
    root = Tflm(
        "SignalFilterBankSquareRoot", {},
        [zeros(channels, np.uint64), zeros((), np.int32)], wide, first=2,
    )  # fmt: skip
    noise = Tflm(
        "SignalFilterBankSpectralSubtraction",
        {
            "alternate_one_minus_smoothing": rest_odd,
            "alternate_smoothing": odd,
            "clamping": f.clamping,
            "min_signal_remaining": f.least_signal,
            "num_channels": channels,
            "one_minus_smoothing": rest_even,
            "smoothing": even,
            "smoothing_bits": f.smoothing_bits,
            "spectral_subtraction_bits": NOISE_BITS,
        },
        [zeros(channels, np.uint32)],
        wide * 2,
    )
    pcan = Tflm(
        "SignalPCAN", {"snr_shift": f.snr_shift},
        [zeros(channels, np.uint32), zeros(channels, np.uint32), t.gain], wide, first=2,
    )  # fmt: skip
    log = Tflm(
        "SignalFilterBankLog",
        {"input_correction_bits": f.correction, "output_scale": f.log_scale},
        [zeros(channels, np.uint32)],
        [((channels,), "int16")],
    )
    rows = []
    for start in range(0, len(samples) - f.frame + 1, f.hop):
        scaled, shift = scale(window(samples[start : start + f.frame])[0])
        signal = root(bank(energy(rfft(scaled)[0])[0])[0], shift)[0]
        signal, estimate = noise(signal)
        rows.append(log(pcan(signal, estimate)[0] if f.pcan else signal)[0])
    return np.array(rows)


@pytest.mark.parametrize("sound", ["noise", "chirp", "steps", "least"])
@pytest.mark.parametrize("frontend", [WIDE, NARROW, PLAIN], ids=["wide", "narrow", "plain"])
def test_chain_is_tflms(frontend: AudioFrontend, sound: str) -> None:
    samples = recording(sound)
    golden = tflm_chain(frontend, samples)
    rows, logs = AudioReference(frontend).push(samples)
    np.testing.assert_array_equal(logs, golden)
    for step in (1, 160, 1000):  # a stream's rows do not depend on how it is cut
        c_rows, c_logs = C(frontend).push(samples[: 4000 if step == 1 else None], step)
        np.testing.assert_array_equal(c_logs, golden[: len(c_logs)])
        np.testing.assert_array_equal(c_rows, rows[: len(c_rows)])
        assert len(c_rows) == len(rows) or step == 1


def test_rows_are_quantized_as_micro_speech_does() -> None:
    rows, logs = C(WIDE).push(recording("noise"), 160)
    wanted = (logs.astype(int) * 256 + 333) // 666 - 128
    np.testing.assert_array_equal(rows, wanted.clip(-128, 127))
    assert rows.min() == -128
    assert len(np.unique(rows)) > 50


def spoken(shared: Path) -> Array:
    """Sixty recordings of Free Spoken Digits in a row (8 kHz, taken as if they were 16)."""
    parts = []
    with zipfile.ZipFile(shared / "data" / "fsdd" / "fsdd_recordings.zip") as archive:
        for name in sorted(archive.namelist())[:3000:50]:
            with wave.open(io.BytesIO(archive.read(name))) as recorded:
                parts.append(np.frombuffer(recorded.readframes(1 << 20), "<i2"))
    return np.concatenate(parts)


def microfrontend(samples: Array) -> Array:
    """uint16 [rows, 40] from pymicro-features, whose features are those times 10 / 256."""
    from pymicro_features import MicroFrontend

    frontend, rows, at_sample = MicroFrontend(), [], 0
    while at_sample + 160 <= len(samples):
        made = frontend.process_samples(samples[at_sample : at_sample + 160].tobytes())
        at_sample += made.samples_read
        if made.features:
            rows.append(np.round(np.array(made.features) * 25.6))
    return np.array(rows, np.int64)


def test_speech_is_tflms_and_the_microfrontends(shared: Path) -> None:
    samples = spoken(shared)
    _, logs = C(WIDE).push(samples, 160)
    np.testing.assert_array_equal(logs[:1000], tflm_chain(WIDE, samples)[:1000])
    golden = microfrontend(samples)
    assert len(golden) == len(logs) > 1000
    assert np.mean(golden != logs) <= 1e-4  # one of its weights is rounded the other way


@pytest.mark.parametrize("sound", ["chirp", "steps", "rails", "least"])
def test_extremes_are_the_microfrontends(sound: str) -> None:
    """TFLM's FFT scale takes -32768 for a small number: on "rails" it is not followed."""
    _, logs = C(WIDE).push(recording(sound), 160)
    np.testing.assert_array_equal(logs, microfrontend(recording(sound)))
    np.testing.assert_array_equal(logs, AudioReference(WIDE).push(recording(sound))[1])


def test_noise_is_the_microfrontends_but_for_its_last_bit() -> None:
    """One of its weights is rounded the other way: a few values in 100,000 differ."""
    _, logs = C(WIDE).push(recording("noise"), 160)
    golden = microfrontend(recording("noise"))[: len(logs)]
    assert np.mean(golden != logs) <= 0.0003


@pytest.mark.parametrize("frontend", [WIDE, PLAIN, CEPSTRA], ids=["wide", "plain", "cepstra"])
def test_written_c_is_the_reference(frontend: AudioFrontend, tmp_path: Path) -> None:
    for name, text in frontend_files(frontend, "voice").items():
        (tmp_path / name).write_text(text)
    library = tmp_path / "voice.so"
    sources = [RUNTIME / "src" / f"{s}.c" for s in ("signal_fft", "signal_ops", "audio_frontend")]
    subprocess.run(
        ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-shared", "-fPIC",
         f"-I{RUNTIME / 'include'}", "-o", library, tmp_path / "voice.c", *sources],
        check=True,
    )  # fmt: skip
    voice: Any = ctypes.CDLL(str(library))
    samples, rows = recording("noise"), []
    row, made = np.zeros(frontend.features, np.int8), ctypes.c_uint32()
    voice.voice_reset()
    taken = 0
    while taken < len(samples):
        rest = ctypes.c_void_p(at(samples) + 2 * taken)
        taken += voice.voice_push(
            rest, len(samples) - taken, ctypes.c_void_p(at(row)), ctypes.byref(made)
        )
        if made.value:
            rows.append(row.copy())
    np.testing.assert_array_equal(np.array(rows), AudioReference(frontend).push(samples)[0])


@pytest.mark.parametrize("frontend", [WIDE, CEPSTRA], ids=["wide", "cepstra"])
def test_no_undefined_behaviour(frontend: AudioFrontend, tmp_path: Path) -> None:
    """The written C under sanitizers, on extremes."""
    for name, text in frontend_files(frontend, "voice").items():
        (tmp_path / name).write_text(text)
    (tmp_path / "main.c").write_text(
        """#include "voice.h"
int main(void) {
    static int16_t x[16000];
    int8_t row[VOICE_FEATURES];
    uint32_t seed = 1, rows;
    for (uint32_t kind = 0; kind < 5; kind++) {
        voice_reset();
        for (uint32_t i = 0; i < 16000; i++) {
            seed = seed * 1664525u + 1013904223u;
            x[i] = (int16_t)(kind == 0 ? -32768 : kind == 1 ? 32767 : kind == 2 ? (seed >> 31 ?
                32767 : -32768) : kind == 3 ? 0 : (int32_t)(seed >> 16) - 32768);
        }
        for (uint32_t i = 0; i < 16000;) i += voice_push(x + i, 16000 - i, row, &rows);
    }
    return 0;
}
"""
    )
    sources = [RUNTIME / "src" / f"{s}.c" for s in ("signal_fft", "signal_ops", "audio_frontend")]
    subprocess.run(
        ["gcc", "-std=c11", "-O1", *SANITIZE, f"-I{RUNTIME / 'include'}", "-o", tmp_path / "main",
         tmp_path / "main.c", tmp_path / "voice.c", *sources],
        check=True,
    )  # fmt: skip
    subprocess.run([tmp_path / "main"], check=True, timeout=60)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sample_rate", 0), ("window_ms", 1), ("window_ms", 400), ("hop_ms", 0), ("hop_ms", 31),
        ("channels", 0), ("channels", 128), ("lower_hz", 7600), ("upper_hz", 8001),
        ("smoothing_bits", 2), ("even_smoothing", 1.5), ("min_signal", -1), ("pcan_strength", 3),
        ("pcan_offset", 0), ("pcan_gain_bits", 40), ("log_scale", 0), ("mfcc", 41),
        ("multiplier", 0), ("divisor", 0), ("zero_point", 128),
    ],
)  # fmt: skip
def test_bad_settings_are_named(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"frontend: {field} = "):
        AudioFrontend(**{field: value})  # type: ignore[arg-type]


def test_bad_name_is_named() -> None:
    with pytest.raises(UsageError, match="'2x' is not a C identifier"):
        frontend_files(WIDE, "2x")
