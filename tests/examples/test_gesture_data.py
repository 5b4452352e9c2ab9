"""The example's splits are honest: nobody and nothing is in two places."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinykit.errors import TinykitError, UsageError


@pytest.fixture
def numbered(gesture: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> dict[int, set[int]]:
    """Recordings in which every sample is its own number; the numbers of each subject."""
    made, owner, start = [], {}, 0
    for subject in (1, 2, 3):
        for exercise in range(7):
            count = 700 + 13 * exercise + subject
            ramp = np.arange(start, start + count, dtype=np.float32)
            start += count
            owner.setdefault(subject, set()).update(ramp.astype(int).tolist())
            made.append(
                gesture.data.Recording(np.tile(ramp[:, None], (1, 6)), exercise, subject, "left")
            )
    plain = gesture.data.Normalisation(np.zeros(6, np.float32), np.ones(6, np.float32))
    monkeypatch.setattr(gesture.data, "load_recordings", lambda: tuple(made))
    monkeypatch.setattr(gesture.data, "normalisation_of", lambda _: plain)
    monkeypatch.setattr(gesture.data, "CLIP", np.inf)
    return owner


def samples_of(windows: SimpleNamespace) -> set[int]:
    return set(windows.x.astype(int).ravel().tolist())


def test_the_held_out_subject_is_in_no_training_window(
    gesture: SimpleNamespace, numbered: dict[int, set[int]]
) -> None:
    split = gesture.data.make_split(2)
    assert samples_of(split.train) <= numbered[1] | numbered[3]
    assert samples_of(split.adapt) | samples_of(split.test) <= numbered[2]
    assert samples_of(gesture.data.calibration_samples(split, 50)) <= numbered[1] | numbered[3]


def test_adaptation_and_test_share_no_sample_and_lie_a_window_apart(
    gesture: SimpleNamespace, numbered: dict[int, set[int]]
) -> None:
    split = gesture.data.make_split(2)
    adapt, test = samples_of(split.adapt), samples_of(split.test)
    assert not adapt & test
    distance = min(min(abs(t - a) for a in adapt) for t in test)
    # recordings follow each other without a break, so only distances inside one count
    for recording in gesture.data.load_recordings():
        own = set(recording.signal[:, 0].astype(int).tolist())
        if recording.subject == 2:
            assert min(test & own) - max(adapt & own) > gesture.data.WINDOW
    assert distance >= 1


def test_labels_follow_their_windows(
    gesture: SimpleNamespace, numbered: dict[int, set[int]]
) -> None:
    split = gesture.data.make_split(1)
    exercise = {
        int(number): recording.exercise
        for recording in gesture.data.load_recordings()
        for number in recording.signal[:, 0]
    }
    for windows in (split.train, split.adapt, split.test):
        assert [exercise[int(x[0, 0])] for x in windows.x] == windows.y.tolist()


def test_normalisation_comes_from_training_subjects_only(
    gesture: SimpleNamespace, recordings: None
) -> None:
    split = gesture.data.make_split(3)
    others = [r.signal for r in gesture.data.load_recordings() if r.subject != 3]
    samples = np.concatenate(others).astype(np.float64)
    np.testing.assert_allclose(split.normalisation.mean, samples.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(split.normalisation.deviation, samples.std(axis=0), rtol=1e-5)


def test_the_data_set_is_what_the_readme_says(gesture: SimpleNamespace, recordings: None) -> None:
    found = gesture.data.load_recordings()
    assert len(found) == 140
    assert {r.subject for r in found} == set(gesture.data.SUBJECTS)
    assert {r.wrist for r in found} == {"left", "right"}
    assert {r.exercise for r in found} == set(range(len(gesture.data.EXERCISES)))
    x, y = gesture.data.load("train")
    assert x.shape == (len(y), 100, 6)
    assert x.dtype == np.float32
    assert len(y) >= 200


def test_another_file_is_not_unpickled(
    gesture: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "watch_dataset.npy"
    wrong.write_bytes(b"\x80\x04who knows")
    monkeypatch.setattr(gesture.data, "dataset_file", lambda: wrong)
    gesture.data.load_recordings.cache_clear()
    with pytest.raises(TinykitError, match="checksum differs"):
        gesture.data.load_recordings()
    gesture.data.load_recordings.cache_clear()


def test_absent_data_and_absent_subjects_are_one_line(
    gesture: SimpleNamespace, recordings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no subject 11"):
        gesture.data.make_split(11)
    monkeypatch.setattr(gesture.data.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TinykitError, match="not installed") as caught:
        gesture.data.dataset_file()
    assert "pip install" in caught.value.hint
