"""The audio frontend: what is chosen, and the integer tables that follow from it.

The chain is that of TensorFlow Lite Micro's audio preprocessor and of the older "microfrontend":
Hann window, FFT, energies, mel filter bank, square root, noise reduction, per-channel automatic
gain control (Wang et al., "Trainable Frontend For Robust and Far-Field Keyword Spotting", 2017),
logarithm.  The defaults are those of the published micro_speech and micro-wake-word models.
At the end there may stand a DCT-II of the logarithms: mel-frequency cepstral coefficients, as
TensorFlow (tf.signal.mfccs_from_log_mel_spectrograms) or librosa (norm="ortho") scale them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tinykit.errors import UsageError
from tinykit.ir import Array

WINDOW_BITS = 12
WEIGHT_BITS = 12
NOISE_BITS = 14
PCAN_SNR_BITS = 12
F32 = np.float32


@dataclass(frozen=True)
class AudioTables:
    """Integer tables; the shapes are those of `tk_audio_frontend` in tinykit/signal.h."""

    window: Array  # int16 [frame]
    twiddles: Array  # int16 [fft / 2, 2]
    super_twiddles: Array  # int16 [fft / 4, 2]
    weights: Array  # int16 [bins]
    unweights: Array  # int16 [bins]
    bins: Array  # int16 [channels + 1]
    offsets: Array  # int16 [channels + 1]
    widths: Array  # int16 [channels + 1]
    gain: Array  # int16 [125]; none without PCAN
    basis: Array  # int16 [mfcc, channels]

    @property
    def bytes(self) -> int:
        """Flash, in bytes."""
        return sum(table.nbytes for table in vars(self).values())


@dataclass(frozen=True)
class AudioFrontend:
    """Times in milliseconds, frequencies in hertz; UsageError names a field out of its range.

    mfcc: how many coefficients of the DCT make a row; 0: the logarithms do.
    mfcc_ortho: coefficient 0 is divided by sqrt(2), as librosa has it.
    """

    sample_rate: int = 16000
    window_ms: float = 30
    hop_ms: float = 10
    channels: int = 40
    lower_hz: float = 125.0
    upper_hz: float = 7500.0
    smoothing_bits: int = 10
    even_smoothing: float = 0.025
    odd_smoothing: float = 0.06
    min_signal: float = 0.05
    clamping: bool = False
    pcan: bool = True
    pcan_strength: float = 0.95
    pcan_offset: float = 80.0
    pcan_gain_bits: int = 21
    log_scale: int = 64
    mfcc: int = 0
    mfcc_ortho: bool = False
    multiplier: int = 256
    divisor: int = 666
    zero_point: int = -128

    def __post_init__(self) -> None:
        def need(field: str, holds: bool, wanted: str) -> None:
            if not holds:
                raise UsageError(
                    f"frontend: {field} = {getattr(self, field)!r}: it must be {wanted}"
                )

        need("sample_rate", 1000 <= self.sample_rate <= 96000, "from 1000 to 96000")
        need("window_ms", 33 <= self.frame <= 4096, "so long that it has 33 to 4096 samples")
        need("hop_ms", 1 <= self.hop <= self.frame, "from one sample to window_ms")
        need("channels", 1 <= self.channels <= 128, "from 1 to 128")
        need("lower_hz", 0 <= self.lower_hz < self.upper_hz, "at least 0 and below upper_hz")
        need("upper_hz", 2 * self.upper_hz <= self.sample_rate, "at most half of sample_rate")
        need("smoothing_bits", self.correction <= self.smoothing_bits <= 15, "from 6 to 15")
        for field in ("even_smoothing", "odd_smoothing", "min_signal"):
            need(field, 0 <= getattr(self, field) <= 1, "from 0 to 1")
        need("pcan_strength", 0 <= self.pcan_strength <= 2, "from 0 to 2")
        need("pcan_offset", 0 < self.pcan_offset <= 1e6, "above 0 and at most 1e6")
        need("pcan_gain_bits", 0 <= self.snr_shift <= 16, "from 18 to 30")
        need("log_scale", 1 <= self.log_scale <= 1024, "from 1 to 1024")
        need("mfcc", 0 <= self.mfcc <= self.channels, "from 0 to channels")
        need("multiplier", 1 <= self.multiplier <= 65536, "from 1 to 65536")
        need("divisor", 1 <= self.divisor <= 65536, "from 1 to 65536")
        need("zero_point", -128 <= self.zero_point <= 127, "an int8")
        need("channels", int(self._filters[2].min()) > 0, "so few that each has a bin of its own")

    @property
    def frame(self) -> int:
        """Samples that a row sees."""
        return int(self.window_ms * self.sample_rate / 1000)

    @property
    def hop(self) -> int:
        """Samples from row to row."""
        return int(self.hop_ms * self.sample_rate / 1000)

    @property
    def fft(self) -> int:
        """The least power of two that holds a frame."""
        return 1 << (self.frame - 1).bit_length()

    @property
    def correction(self) -> int:
        """What the FFT's scale leaves to make good, in bits."""
        return self.fft.bit_length() - 1 - WEIGHT_BITS // 2

    @property
    def features(self) -> int:
        """Values of a row."""
        return self.mfcc or self.channels

    @property
    def basis_shift(self) -> int:
        """Fraction bits of the DCT's table: as many as its largest value leaves of 16 bits."""
        return int(np.log2(32767 / np.sqrt(2 / self.channels)))

    @property
    def snr_shift(self) -> int:
        return self.pcan_gain_bits - self.correction - PCAN_SNR_BITS

    @property
    def first_bin(self) -> int:
        return int(1.5 + self.lower_hz / (self.sample_rate / self.fft))

    @property
    def end_bin(self) -> int:
        """One past the last bin that a channel reads."""
        return int(self._filters[0][-1] + self._filters[2][-1])

    def smoothing(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(even, odd) smoothing and one minus it, in 2^-14."""
        one = 1 << NOISE_BITS
        even, odd = (int(F32(s) * F32(one)) for s in (self.even_smoothing, self.odd_smoothing))
        return (even, odd), (one - even, one - odd)

    @property
    def least_signal(self) -> int:
        return int(F32(self.min_signal) * F32(1 << NOISE_BITS))

    @property
    def ram(self) -> int:
        """Bytes of memory that `tk_audio_frontend` points to, scratch included."""
        spectrum = self.fft // 2 + 1
        return 4 * self.frame + 4 + 8 * spectrum + self.channels * (8 + 4 + 4 + 2)

    @cached_property
    def tables(self) -> AudioTables:
        bins, offsets, widths, weights, unweights = self._filters
        twiddles, super_twiddles = transform(self.fft)
        return AudioTables(
            window=self._window(),
            twiddles=twiddles,
            super_twiddles=super_twiddles,
            weights=weights,
            unweights=unweights,
            bins=bins,
            offsets=offsets,
            widths=widths,
            gain=self._gain() if self.pcan else np.zeros(0, np.int16),
            basis=self._basis(),
        )

    def _window(self) -> Array:
        phase = float(F32(2 * np.pi / self.frame)) * (np.arange(self.frame) + 0.5)
        cosine = np.cos(phase).astype(F32).astype(np.float64)
        hann = (0.5 - 0.5 * cosine).astype(F32).astype(np.float64)
        return _rounded(hann * (1 << WINDOW_BITS))

    @cached_property
    def _filters(self) -> tuple[Array, Array, Array, Array, Array]:
        """Bins, offsets, widths, weights, unweights of triangles that are even in mel."""
        low, high = _mel(np.array([self.lower_hz, self.upper_hz], F32))
        spacing = F32((high - low) / F32(self.channels + 1))
        steps = np.arange(1, self.channels + 2)
        centres = (float(low) + float(spacing) * steps).astype(F32)  # rounded once
        hertz = F32(F32(0.5) * F32(self.sample_rate) / F32(self.fft // 2))
        mels = _mel((np.arange(self.fft // 2 + 1, dtype=F32) * hertz).astype(F32))
        bins, widths, weights, unweights = [], [], [], []
        start = self.first_bin
        for channel, centre in enumerate(centres):
            end = start
            while end < len(mels) and mels[end] <= centre:
                end += 1
            below = low if channel == 0 else centres[channel - 1]
            weight = ((centre - mels[start:end]) / (centre - below)).astype(np.float64)
            weights.append(np.floor(weight * (1 << WEIGHT_BITS) + 0.5))
            unweights.append(np.floor((1 - weight) * (1 << WEIGHT_BITS) + 0.5))
            bins.append(start)
            widths.append(end - start)
            start = end
        offsets = np.concatenate([[0], np.cumsum(widths)[:-1]])
        tables = (bins, offsets, widths, np.concatenate(weights), np.concatenate(unweights))
        bins_, offsets_, widths_, weights_, unweights_ = (np.asarray(t, np.int16) for t in tables)
        return bins_, offsets_, widths_, weights_, unweights_

    def _gain(self) -> Array:
        """Values at 0, 1, 2, then (value, slope, bend, unused) of a parabola per octave."""
        table = np.zeros(125, np.int64)
        table[:2] = self._gain_at(0), self._gain_at(1)
        for octave in range(2, 33):
            start = 1 << (octave - 1)
            last = 2 * start if octave < 32 else 2 * start - 1
            y0, y1, y2 = map(self._gain_at, (start, start + start // 2, last))
            slope = 4 * (y1 - y0) - (y2 - y0)
            table[4 * octave - 6 : 4 * octave - 3] = y0, slope, y2 - y0 - slope
        return table.astype(np.int16)

    def _basis(self) -> Array:
        """DCT-II: sqrt(2 / channels) * cos(pi * k * (n + 1/2) / channels)."""
        k = np.arange(self.mfcc)[:, None]
        phase = np.pi * k * (np.arange(self.channels) + 0.5) / self.channels
        scale = np.where((k == 0) & self.mfcc_ortho, np.sqrt(0.5), 1) * np.sqrt(2 / self.channels)
        return _rounded(scale * np.cos(phase) * (1 << self.basis_shift))

    def _gain_at(self, noise: int) -> int:
        level = F32(noise) / F32(1 << (self.smoothing_bits - self.correction))
        power = float(level + F32(self.pcan_offset)) ** -float(F32(self.pcan_strength))
        gain = F32(1 << self.pcan_gain_bits) * F32(power)
        return 0x7FFF if gain > 0x7FFF else int(gain + F32(0.5))


def _mel(hertz: Array) -> Array:
    mel: Array = (1127 * np.log1p(hertz.astype(np.float64) / 700)).astype(F32)
    return mel


def transform(length: int) -> tuple[Array, Array]:
    """int16 twiddles [length / 2, 2] and super twiddles [length / 4, 2] of a real FFT."""
    half = length // 2
    return (
        _twiddles(-2 * np.pi * np.arange(half) / half),
        _twiddles(-np.pi * (np.arange(1, half // 2 + 1) / half + 0.5)),
    )


def _twiddles(phase: Array) -> Array:
    pairs = np.stack([np.cos(phase), np.sin(phase)], axis=-1)
    return _rounded(32767 * pairs)


def _rounded(x: Array) -> Array:
    nearest: Array = np.floor(x + 0.5).astype(np.int16)
    return nearest
