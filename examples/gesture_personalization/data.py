"""Seven exercises seen by a wrist watch: recordings, windows, and splits that do not leak.

The data are `watch_dataset.npy` of the seglearn package (David Burns, BSD licence;
https://arxiv.org/abs/1802.01489): ten people, seven physiotherapy exercises of the shoulder, about
20 repetitions each, once with the watch on the left wrist and once on the right: 140 recordings of
accelerometer and gyroscope (six channels) at 50 Hz.

Honesty rests on three rules, each checked by a test:
  * a held-out subject appears in no way in training, not even in the normalisation constants;
  * of every recording of the held-out subject the first part is for adaptation, the last part for
    testing, and between them lies a gap of one window: no sample is in both;
  * nothing (learning rate, plan, number of epochs) is chosen by looking at test windows.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinykit.errors import TinykitError

EXERCISES = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "upright row",
)
SUBJECTS = tuple(range(1, 11))
WINDOW = 100  # samples: two seconds
CHANNELS = 6
CLIP = 4.0  # standard deviations; what lies beyond is clipped, so that int8 resolves the rest
ADAPTATION_SHARE = 0.4  # of every recording of the held-out subject, from its start

_FILE_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.int64]


@dataclass(frozen=True)
class Recording:
    """One person doing one exercise with the watch on one wrist.

    `signal` is [samples, 6] at 50 Hz: acceleration in g (x, y, z), rotation in rad/s (x, y, z).
    """

    signal: FloatArray
    exercise: int
    subject: int
    wrist: str


@dataclass(frozen=True)
class Windows:
    """Labelled windows: `x` [n, 100, 6] normalised float32, `y` [n] class indices."""

    x: FloatArray
    y: LabelArray

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Normalisation:
    """Per-channel constants, computed from training subjects only."""

    mean: FloatArray
    deviation: FloatArray

    def __call__(self, signal: FloatArray) -> FloatArray:
        scaled = (signal - self.mean) / self.deviation
        return np.clip(scaled, -CLIP, CLIP).astype(np.float32)


@dataclass(frozen=True)
class Split:
    """What a fold needs: `train` from other people, `adapt` and `test` from the held-out subject."""

    subject: int
    train: Windows
    adapt: Windows
    test: Windows
    normalisation: Normalisation


def dataset_file() -> Path:
    """Where the installed seglearn wheel keeps the data; seglearn itself is not imported."""
    spec = importlib.util.find_spec("seglearn")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        file = Path(place) / "data" / "watch_dataset.npy"
        if file.is_file():
            return file
    raise TinykitError(
        "the exercise recordings are not installed (package seglearn)",
        "pip install seglearn==1.2.5   (make setup does it)",
    )


@lru_cache(maxsize=1)
def load_recordings() -> tuple[Recording, ...]:
    """All 140 recordings. The file is a pickle: it is read only if it is the one we know."""
    file = dataset_file()
    raw = file.read_bytes()
    if hashlib.sha256(raw).hexdigest() != _FILE_SHA256:
        raise TinykitError(
            f"{file} is not the data set of seglearn 1.2.5 (its checksum differs)",
            "pip install --force-reinstall seglearn==1.2.5",
        )
    table = np.load(io.BytesIO(raw), allow_pickle=True).item()
    return tuple(
        Recording(
            signal=np.asarray(signal, dtype=np.float32),
            exercise=int(exercise),
            subject=int(subject),
            wrist="right" if side else "left",
        )
        for signal, exercise, subject, side in zip(
            table["X"], table["y"], table["subject"], table["side"], strict=True
        )
    )


def cut(signal: FloatArray, stride: int) -> FloatArray:
    """Windows of a signal [samples, 6]: [n, 100, 6], each `stride` samples after the last."""
    starts = range(0, len(signal) - WINDOW + 1, stride)
    if not starts:
        return np.zeros((0, WINDOW, signal.shape[1]), dtype=np.float32)
    return np.stack([signal[start : start + WINDOW] for start in starts])


def normalisation_of(recordings: list[Recording]) -> Normalisation:
    """Mean and standard deviation of every channel over the given recordings."""
    samples = np.concatenate([recording.signal for recording in recordings]).astype(np.float64)
    return Normalisation(
        mean=samples.mean(axis=0).astype(np.float32),
        deviation=samples.std(axis=0).astype(np.float32),
    )


def parts(recording: Recording, share: float = ADAPTATION_SHARE) -> tuple[FloatArray, FloatArray]:
    """The signal's first `share`, and what comes one window (2 s) after it."""
    border = int(len(recording.signal) * share)
    return recording.signal[:border], recording.signal[border + WINDOW :]
