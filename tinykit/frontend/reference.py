"""The frontend's operators in NumPy: exact, one frame at a time, to read and to compare with.

Integer types are those of the C functions of the same names in tinykit/signal.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tinykit.frontend.audio import NOISE_BITS, PCAN_SNR_BITS, WINDOW_BITS, AudioFrontend
from tinykit.ir import Array

PCAN_OUTPUT_BITS = 6
_SEGMENTS = np.arange(129) / 128
LOG_EXCESS = np.floor(65536 * (np.log2(1 + _SEGMENTS) - _SEGMENTS) + 0.5).astype(np.int64)


def window(x: Array, coefficients: Array, shift: int) -> Array:
    """int16 [frame] of int16 [frame] and int16 [frame]."""
    product = (x.astype(np.int64) * coefficients) >> shift
    return product.clip(-32768, 32767).astype(np.int16)


def auto_scale(x: Array) -> tuple[Array, int]:
    """int16 of int16, shifted left as far as the largest magnitude allows, and the shift."""
    largest = int(np.abs(x.astype(np.int64)).max())
    shift = max(0, 15 - largest.bit_length()) if largest else 0
    return (x.astype(np.int64) << shift).astype(np.int16), shift


def rfft(x: Array, twiddles: Array, super_twiddles: Array) -> Array:
    """int16 [fft / 2 + 1, 2] (real, imaginary) of int16 [size]; zeros follow up to fft.

    Follows KISS FFT 131 in 16 bits: radix 4 from the last stage to the first, one radix-2 stage
    where fft / 2 is no power of four, a division by the radix before each.
    """
    n = len(twiddles)
    padded = np.zeros(2 * n, np.int64)
    padded[: len(x)] = x
    y = padded[0::2] + 1j * padded[1::2]  # integers below 2^31: exact
    w = twiddles[:, 0] + 1j * twiddles[:, 1].astype(np.float64)
    v = super_twiddles[:, 0] + 1j * super_twiddles[:, 1].astype(np.float64)
    radices = [4] * ((n.bit_length() - 1) // 2) + [2] * ((n.bit_length() - 1) % 2)
    y = y.reshape(*reversed(radices)).transpose().reshape(-1)
    m = 1
    for radix in reversed(radices):
        parts = _q15(y.reshape(-1, radix, m) * (32767 // radix))
        turns = np.outer(np.arange(1, radix), np.arange(m)) * (n // (radix * m))
        parts[:, 1:] = _q15(parts[:, 1:] * w[turns])
        if radix == 2:
            a, b = parts[:, 0], parts[:, 1]
            y = np.stack([a + b, a - b], axis=1)
        else:
            a, b, c, d = (parts[:, i] for i in range(4))
            even, odd, both, apart = (_wrap(s) for s in (a + c, a - c, b + d, b - d))
            y = np.stack([even + both, odd - 1j * apart, even - both, odd + 1j * apart], axis=1)
        y = _wrap(y.reshape(-1))
        m *= radix
    spectrum = np.zeros(n + 1, complex)
    first = _q15(y[:1] * 16383)[0]
    spectrum[0] = first.real + first.imag
    spectrum[n] = first.real - first.imag
    k = np.arange(1, n // 2 + 1)
    a, b = _q15(y[k] * 16383), _q15(_wrap(np.conj(y[n - k])) * 16383)
    s, t = _wrap(a + b), _q15(_wrap(a - b) * v)
    spectrum[k] = _half(s + t)
    spectrum[n - k] = _half(np.conj(s - t))
    pairs: Array = np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.int64)
    return pairs.astype(np.int16)


def _wrap(z: Array) -> Array:
    real, imag = (p.astype(np.int64).astype(np.int16) for p in (z.real, z.imag))
    wrapped: Array = real + 1j * imag.astype(np.float64)
    return wrapped


def _q15(z: Array) -> Array:
    parts = [(p.astype(np.int64) + (1 << 14)) >> 15 for p in (z.real, z.imag)]
    rounded: Array = parts[0] + 1j * parts[1]
    return _wrap(rounded)


def _half(z: Array) -> Array:
    half: Array = (z.real.astype(np.int64) >> 1) + 1j * (z.imag.astype(np.int64) >> 1)
    return half


def energy(spectrum: Array, start: int, end: int) -> Array:
    """uint32 [end]: squared magnitudes of int16 [fft / 2 + 1, 2]; zeros below start."""
    squared: Array = (spectrum[:end].astype(np.int64) ** 2).sum(axis=1).astype(np.uint32)
    squared[:start] = 0
    return squared


def filter_bank(
    energies: Array, bins: Array, offsets: Array, widths: Array, weights: Array, unweights: Array
) -> Array:
    """uint64 [channels]: rising weights over a channel's range, falling ones over the last."""
    rising = np.zeros(len(bins), np.uint64)
    falling = np.zeros(len(bins), np.uint64)
    for c, (start, offset, width) in enumerate(zip(bins, offsets, widths, strict=True)):
        e = energies[start : start + width].astype(np.uint64)
        rising[c] = (e * weights[offset : offset + width].astype(np.uint64)).sum(dtype=np.uint64)
        falling[c] = (e * unweights[offset : offset + width].astype(np.uint64)).sum(dtype=np.uint64)
    return rising[1:] + falling[:-1]


def square_root(x: Array, shift: int) -> Array:
    """uint32 of uint64: rounded roots, capped at 16 bits for 32-bit values, shifted right."""

    def root(value: int) -> int:
        low = int(np.floor(np.sqrt(value)))
        while low * low > value:
            low -= 1
        while (low + 1) * (low + 1) <= value:
            low += 1
        largest = 0xFFFF if value >> 32 == 0 else 0xFFFFFFFF
        return low + (value - low * low > low and low != largest)

    return np.array([root(int(v)) >> shift for v in x], np.uint32)


def noise_reduction(
    x: Array, noise: Array, smoothing: tuple[int, int], least: int, bits: int, clamping: bool
) -> tuple[Array, Array]:
    """uint32 signal without the noise, and the new estimate of uint32 noise, `bits` of fraction."""
    value, parity = x.astype(np.uint64), np.arange(len(x)) % 2
    signal = (value << np.uint64(bits)) & np.uint64(0xFFFFFFFF)
    s = np.array(smoothing, np.uint64)[parity]
    mixed = signal * s + noise.astype(np.uint64) * (np.uint64(1 << NOISE_BITS) - s)
    estimate = (mixed >> np.uint64(NOISE_BITS)) & np.uint64(0xFFFFFFFF)
    removed = np.minimum(estimate, signal)
    floor = (value * np.uint64(least)) >> np.uint64(NOISE_BITS)
    left = np.maximum((signal - removed) >> np.uint64(bits), floor)
    return left.astype(np.uint32), (removed if clamping else estimate).astype(np.uint32)


def pcan(x: Array, noise: Array, gain: Array, snr_shift: int) -> Array:
    """uint32 signal times the gain at its noise level, small values shrunk."""

    def gain_at(level: int) -> int:
        if level <= 2:
            return int(gain[level])
        octave = level.bit_length()
        y0, slope, bend = (int(v) for v in gain[4 * octave - 6 : 4 * octave - 3])
        fraction = (level << 11 >> octave) & 0x3FF
        tilt = (((bend * fraction) >> 5) + (slope << 5)) * fraction + (1 << 14)
        tilt = (tilt + (1 << 31)) % (1 << 32) - (1 << 31)
        return int(np.array((tilt >> 15) + y0).astype(np.int16))

    def shrunk(snr: int) -> int:
        if snr < 2 << PCAN_SNR_BITS:
            return snr * snr >> (2 + 2 * PCAN_SNR_BITS - PCAN_OUTPUT_BITS)
        return (snr >> (PCAN_SNR_BITS - PCAN_OUTPUT_BITS)) - (1 << PCAN_OUTPUT_BITS)

    gains = [gain_at(int(level)) & 0xFFFFFFFF for level in noise]
    product = [int(v) * g % (1 << 64) for v, g in zip(x, gains, strict=True)]
    return np.array([shrunk((p >> snr_shift) & 0xFFFFFFFF) for p in product], np.uint32)


def log(x: Array, scale: int, correction: int) -> Array:
    """int16: ln(x << correction) * scale of uint32, from a table of 128 segments per octave."""

    def natural(value: int) -> int:
        whole = value.bit_length() - 1
        fraction = ((value - (1 << whole)) << 16) >> whole
        low, high = (int(v) for v in LOG_EXCESS[fraction >> 9 : (fraction >> 9) + 2])
        log2 = (whole << 16) + fraction + low + ((high - low) * (fraction & 511) >> 16)
        ln = (45426 * log2 + 32768) >> 16
        return min(((scale * ln + 32768) & 0xFFFFFFFF) >> 16, 32767)

    values = [(int(v) << correction) & 0xFFFFFFFF for v in x]
    return np.array([natural(v) if v > 1 else 0 for v in values], np.int16)


def dct(x: Array, basis: Array, shift: int) -> Array:
    """int16 [coefficients] of int16 [channels] and int16 [coefficients, channels]."""
    sums = basis.astype(np.int64) @ x.astype(np.int64)
    return ((sums + (1 << shift >> 1)) >> shift).clip(-32768, 32767).astype(np.int16)


@dataclass
class AudioReference:
    """The whole chain as a stream, like `tk_audio_frontend_push`."""

    frontend: AudioFrontend
    noise: Array = field(init=False)
    rest: Array = field(init=False)

    def __post_init__(self) -> None:
        self.noise = np.zeros(self.frontend.channels, np.uint32)
        self.rest = np.zeros(0, np.int16)

    def push(self, samples: Array) -> tuple[Array, Array]:
        """int8 [rows, features] and the int16 features themselves, of int16 samples."""
        f, made = self.frontend, []
        self.rest = np.concatenate([self.rest, samples.astype(np.int16)])
        while len(self.rest) >= f.frame:
            made.append(self._row(self.rest[: f.frame]))
            self.rest = self.rest[f.hop :]
        x = np.array(made, np.int16).reshape(-1, f.features)
        value = (x.astype(np.int64) * f.multiplier + f.divisor // 2) // f.divisor + f.zero_point
        return value.clip(-128, 127).astype(np.int8), x

    def _row(self, samples: Array) -> Array:
        f, t = self.frontend, self.frontend.tables
        scaled, scale = auto_scale(window(samples, t.window, WINDOW_BITS))
        energies = energy(rfft(scaled, t.twiddles, t.super_twiddles), f.first_bin, f.end_bin)
        sums = filter_bank(energies, t.bins, t.offsets, t.widths, t.weights, t.unweights)
        x = square_root(sums, scale)
        x, self.noise = noise_reduction(
            x, self.noise, f.smoothing()[0], f.least_signal, f.smoothing_bits, f.clamping
        )
        if f.pcan:
            x = pcan(x, self.noise, t.gain, f.snr_shift)
        x = log(x, f.log_scale, f.correction)
        return dct(x, t.basis, f.basis_shift) if f.mfcc else x
