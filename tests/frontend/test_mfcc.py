"""Cepstral coefficients: C is the fixed-point NumPy bit for bit, and both are close to what
TensorFlow and SciPy (by which librosa computes them) make of the same sound in floating point."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.frontend.test_audio_frontend import CEPSTRA, recording, spoken
from tests.support.audio_frontend import C, at, library
from tinykit.frontend import AudioFrontend
from tinykit.frontend.reference import AudioReference, dct
from tinykit.ir import Array


def c_dct(f: AudioFrontend, logs: Array) -> Array:
    """int16 [mfcc] from C, on memory of exactly its size."""
    function, basis = library().tk_signal_dct, f.tables.basis
    function.restype = ctypes.c_int16
    x = ctypes.c_void_p(at(logs))
    made = [
        function(x, ctypes.c_void_p(at(row)), f.channels, f.basis_shift)
        for row in map(np.copy, basis)
    ]
    return np.array(made, np.int16)


@settings(max_examples=150, deadline=None)
@given(
    channels=st.integers(1, 80),
    share=st.floats(0, 1),
    ortho=st.booleans(),
    bits=st.integers(1, 15),
    seed=st.integers(0, 1000),
)
def test_c_is_numpy_and_near_the_definition(
    channels: int, share: float, ortho: bool, bits: int, seed: int
) -> None:
    """Rounding of the table and of the sum is all that parts them; int16 saturates."""
    f = AudioFrontend(
        window_ms=250, hop_ms=10, channels=channels, mfcc=max(1, int(share * channels)),
        mfcc_ortho=ortho,
    )  # fmt: skip
    random = np.random.default_rng(seed)
    for logs in (
        np.full(channels, (1 << bits) - 1, np.int16),
        random.integers(0, 1 << bits, channels).astype(np.int16),
        random.choice(np.array([-32768, 32767], np.int16), channels),
    ):
        ours = dct(logs, f.tables.basis, f.basis_shift)
        np.testing.assert_array_equal(c_dct(f, logs), ours)
        exact = scipy.fft.dct(logs.astype(float), type=2, norm="ortho")[: f.mfcc]
        if not ortho:
            exact[0] *= np.sqrt(2)
        bound = 0.5 + np.abs(logs.astype(float)).sum() / 2 ** (f.basis_shift + 1) + 1e-6
        assert np.abs(ours - exact.clip(-32768, 32767)).max() <= bound


def test_scale_is_tensorflows() -> None:
    import tensorflow as tf

    logs = np.random.default_rng(1).integers(0, 1000, 40).astype(np.int16)
    f = replace(CEPSTRA, mfcc=40)
    wanted = tf.signal.mfccs_from_log_mel_spectrograms(logs.astype(np.float32)).numpy()
    assert np.abs(dct(logs, f.tables.basis, f.basis_shift) - wanted).max() <= 0.75


@pytest.mark.parametrize("ortho", [False, True])
@pytest.mark.parametrize("sound", ["noise", "chirp", "steps", "rails", "least"])
def test_rows_are_the_references(sound: str, ortho: bool) -> None:
    f = replace(CEPSTRA, mfcc_ortho=ortho)
    rows, features = AudioReference(f).push(recording(sound))
    assert rows.shape == features.shape == (98, 13)
    for step in (160, 1000):
        np.testing.assert_array_equal(C(f).push(recording(sound), step)[0], rows)
    below = np.floor((features.astype(float) + 4) / 9) + 5  # floor, of negative ones too
    np.testing.assert_array_equal(rows, below.clip(-128, 127))


def in_floating_point(f: AudioFrontend, samples: Array) -> Array:
    """float64 [rows, mfcc] in nats: window, FFT, triangles even in mel, root, logarithm, DCT."""
    n = np.arange(f.frame)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (n + 0.5) / f.frame)
    starts = range(0, len(samples) - f.frame + 1, f.hop)
    frames = np.stack([samples[s : s + f.frame] for s in starts]) * hann
    power = np.abs(np.fft.rfft(frames, f.fft)) ** 2
    mel = 1127 * np.log1p(np.arange(f.fft // 2 + 1) * f.sample_rate / f.fft / 700)
    low, high = (1127 * np.log1p(hz / 700) for hz in (f.lower_hz, f.upper_hz))
    edges = np.linspace(low, high, f.channels + 2)
    power[:, : f.first_bin] = 0
    rise = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    magnitude = np.sqrt(power @ np.minimum(rise, fall).clip(0))
    logs = np.log(magnitude.clip(1))
    return np.asarray(scipy.fft.dct(logs, type=2, norm="ortho")[:, : f.mfcc])


def test_speech_is_close_to_floating_point(shared: Path) -> None:
    f = replace(CEPSTRA, mfcc_ortho=True)
    samples = spoken(shared)
    _, features = AudioReference(f).push(samples)
    exact = in_floating_point(f, samples)
    error = np.abs(features / f.log_scale - exact)
    assert len(exact) > 1000
    assert exact.std(axis=0).min() > 0.5  # nats: what the error is to be held against
    assert error.mean() < 0.03
    assert np.quantile(error, 0.99) < 0.2
