"""Seven exercises seen by a wrist watch: recordings, windows, and splits that do not leak.

The data are `watch_dataset.npy` of the seglearn package (David Burns, BSD licence;
https://arxiv.org/abs/1802.01489): ten people, seven physiotherapy exercises of the shoulder, about
20 repetitions each, once with the watch on the left wrist and once on the right: 140 recordings of
accelerometer and gyroscope (six channels) at 50 Hz.

Honesty rests on three rules, each checked by a test:
  * a held-out subject appears in no way in training, not even in the normalisation constants;
  * of every recording of the held-out subject the first part is for adaptation, the last part for
    testing, and between them lies a gap of one window: no sample is in both;
  * plan and learning rate are chosen by validation inside the adaptation part (`validation_split`),
    never by looking at test windows.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinykit.errors import TinykitError, UsageError

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
TRAIN_STRIDE = 25  # samples between the starts of windows: three quarters overlap
ADAPT_STRIDE = 25
TEST_STRIDE = 50
STEPS = 400  # that a device learns for; who has fewer windows shows them again
SHOWN_SUBJECT = 1  # the user of the commands run in this folder; model.tflite has not seen them

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
    """One fold: `train` from other people, `adapt` and `test` from the held-out subject."""

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


def parts(signal: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The signal's first `ADAPTATION_SHARE`, and what comes one window (2 s) after it."""
    border = int(len(signal) * ADAPTATION_SHARE)
    return signal[:border], signal[border + WINDOW :]


def halves(signal: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The adaptation part in two: what validation learns from, and what it is measured on."""
    first, _ = parts(signal)
    return first[: len(first) // 2], first[len(first) // 2 :]


def make_split(subject: int) -> Split:
    """The fold in which `subject` is held out. `adapt` has `STEPS` windows in random order."""
    return _split(subject, parts, TEST_STRIDE)


def validation_split(subject: int) -> Split:
    """The same without the last part of any recording, for choosing plans and rates: `adapt` and
    `test` are both of the adaptation part."""
    return _split(subject, halves, ADAPT_STRIDE)


def _split(
    subject: int,
    divide: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
    test_stride: int,
) -> Split:
    recordings = load_recordings()
    others = [recording for recording in recordings if recording.subject != subject]
    own = [recording for recording in recordings if recording.subject == subject]
    if not own:
        raise UsageError(f"there is no subject {subject}", f"subjects: 1 … {len(SUBJECTS)}")
    normalisation = normalisation_of(others)

    def windows(signals: list[tuple[FloatArray, int]], stride: int) -> Windows:
        pieces = [(cut(normalisation(signal), stride), label) for signal, label in signals]
        labels = [np.full(len(x), label, dtype=np.int64) for x, label in pieces]
        return Windows(np.concatenate([x for x, _ in pieces]), np.concatenate(labels))

    divided = [(*divide(recording.signal), recording.exercise) for recording in own]
    adapt = windows([(first, label) for first, _, label in divided], ADAPT_STRIDE)
    order = _learning_order(len(adapt), np.random.default_rng(subject))
    return Split(
        subject=subject,
        train=windows([(r.signal, r.exercise) for r in others], TRAIN_STRIDE),
        adapt=Windows(adapt.x[order], adapt.y[order]),
        test=windows([(last, label) for _, last, label in divided], test_stride),
        normalisation=normalisation,
    )


def _learning_order(count: int, generator: np.random.Generator) -> LabelArray:
    """`STEPS` indices below `count`: all in random order, and in another one when they run out."""
    passes = [generator.permutation(count) for _ in range(-(-STEPS // count))]
    return np.concatenate(passes)[:STEPS].astype(np.int64)


def calibration_samples(split: Split, count: int = 200) -> Windows:
    """Training windows (never the held-out subject's) spread evenly over people and exercises,
    shuffled: the first few of them are a fair sample, too."""
    chosen = np.linspace(0, len(split.train) - 1, count).astype(np.int64)
    np.random.default_rng(0).shuffle(chosen)
    return Windows(split.train.x[chosen], split.train.y[chosen])


def load(split: str) -> tuple[FloatArray, LabelArray]:
    """What tinykit.toml names: "train", "test" or "calibration" for SHOWN_SUBJECT.

    Training happens on the device: "train" are the windows that the user labels for it.
    """
    fold = make_split(SHOWN_SUBJECT)
    chosen = {"train": fold.adapt, "test": fold.test}.get(split) or calibration_samples(fold)
    return chosen.x, chosen.y
