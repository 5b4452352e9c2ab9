"""Spoken digits: recordings of six people, synthetic voices, and their log-mel features."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import wave
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.measuring.models import shared_models
from tinykit.errors import TinykitError, UsageError

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

ARCHIVE = Path("fsdd/fsdd_recordings.zip")
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000  # Hz
LENGTH = 8000  # samples of a clip: one second; longer ones are cut
WINDOW, HOP, BANDS = 256, 160, 20  # samples, samples, mel bands of 80 … 3800 Hz
FRAMES = (LENGTH - WINDOW) // HOP + 1
SHAPE = (FRAMES, BANDS, 1)
QUIET = 0.02  # of the peak: silence at both ends of synthetic clips is cut off


def recordings(speaker: str) -> tuple[Floats, Labels, Labels]:
    """(features [500, …], digits, numbers of the recordings) of one person."""
    archive = shared_models().parent / "data" / ARCHIVE
    if not archive.is_file():
        raise UsageError(f"{archive}: the spoken digits are not there", "choose another --task")
    found = []
    with zipfile.ZipFile(archive) as file:
        for name in sorted(file.namelist()):
            match = re.fullmatch(rf"(\d)_{speaker}_(\d+)\.wav", name)
            if match:
                sound, rate = _wave(file.read(name))
                assert rate == RATE
                found.append((log_mel(sound), int(match[1]), int(match[2])))
    x, y, number = zip(*found, strict=True)
    return np.stack(x), np.array(y), np.array(number)


VARIANTS = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029")
MANNERS = ((130, 40), (165, 50), (200, 65))  # words a minute, pitch


def synthetic() -> tuple[Floats, Labels]:
    """(features, digits) of espeak-ng's voices. Raises TinykitError where it is not installed."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise TinykitError("espeak-ng is not installed", "apt-get install espeak-ng")

    def say(told: tuple[str, int, int, int]) -> Floats:
        voice, speed, pitch, digit = told
        command = [program, "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout"]
        done = subprocess.run([*command, WORDS[digit]], capture_output=True, check=True)
        sound, rate = _wave(done.stdout)
        return log_mel(_trimmed(_resampled(sound, rate)))

    todo = [
        (accent + variant, speed, pitch, digit)
        for accent in ACCENTS
        for variant in VARIANTS
        for speed, pitch in MANNERS
        for digit in range(10)
    ]
    with ThreadPoolExecutor(2) as pool:
        x = list(pool.map(say, todo))
    return np.stack(x), np.array([digit for *_, digit in todo])


def _wave(data: bytes) -> tuple[Floats, int]:
    """Mono sound in −1 … 1 and its rate. espeak-ng's header does not know the length."""
    with wave.open(io.BytesIO(data)) as file:
        rate, start = file.getframerate(), data.index(b"data") + 8
    codes = np.frombuffer(data[start : start + (len(data) - start) // 2 * 2], "<i2")
    return (codes / np.float32(32768)).astype(np.float32), rate


def _resampled(sound: Floats, rate: int) -> Floats:
    """To RATE, by cutting the spectrum."""
    count = int(len(sound) * RATE / rate)
    spectrum = np.fft.rfft(sound)[: count // 2 + 1]
    return np.asarray(np.fft.irfft(spectrum, count) * count / len(sound), np.float32)


def _trimmed(sound: Floats) -> Floats:
    loud = np.flatnonzero(np.abs(sound) > QUIET * np.abs(sound).max())
    return np.asarray(sound[loud[0] : loud[-1] + 1])


def log_mel(sound: Floats) -> Floats:
    """[FRAMES, BANDS, 1]: logarithms of mel energies, less the clip's mean; a short clip lies in
    the middle of its second, in its own noise floor."""
    sound = sound[:LENGTH]
    before = (LENGTH - len(sound)) // 2
    sound = np.pad(sound, (before, LENGTH - len(sound) - before))
    at = np.arange(FRAMES)[:, None] * HOP + np.arange(WINDOW)
    power = np.abs(np.fft.rfft(sound[at] * np.hanning(WINDOW))) ** 2
    energy = power @ _mel_bands()
    floor = 1e-4 * energy.max() + 1e-9
    found = np.log(energy + floor)
    return np.asarray((found - found.mean())[..., None] / 2, np.float32)


@lru_cache(maxsize=1)
def _mel_bands() -> Floats:
    """Triangles [WINDOW / 2 + 1, BANDS]."""
    low, high = 2595 * np.log10(1 + np.array([80, 3800]) / 700)
    mel = np.linspace(low, high, BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = np.arange(WINDOW // 2 + 1)[:, None] * RATE / WINDOW
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)), np.float32)


def jittered(x: Floats, random: np.random.Generator) -> Floats:
    """For pretraining: clips moved in time and pitch, louder, with a little noise."""
    moved = [
        np.roll(clip, (int(random.integers(-5, 6)), int(random.integers(-1, 2))), (0, 1))
        for clip in x
    ]
    gain = random.uniform(0.8, 1.2, (len(x), 1, 1, 1))
    noise = random.normal(0, 0.15, x.shape)
    return np.asarray(np.stack(moved) * gain + noise, np.float32)
