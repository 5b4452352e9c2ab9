"""Spoken digits of a real speaker; the network has heard synthetic voices (espeak-ng) only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.measuring.accuracy import sound, speech
from bench.measuring.accuracy.pretrain import pretrained
from bench.measuring.accuracy.problem import Problem, Task

EPOCHS = 4


def problem(case: str, cache: Path) -> Problem:
    """case: the real speaker. Raises TinykitError where espeak-ng is not installed."""
    kept = cache / "voices.npz"
    if not kept.exists():
        x, y = sound.synthetic()
        partial = kept.with_suffix(".part.npz")
        np.savez(partial, x=x, y=y)
        partial.replace(kept)
    with np.load(kept) as data:
        x, y = data["x"], data["y"]
    graph = pretrained(speech.network, x, y, cache, "voices", EPOCHS, sound.jittered)
    return speech.user(graph, case, (x, y))


def task() -> Task:
    """Two speakers, one network."""
    return replace(
        speech.task(),
        name="voices",
        title="spoken digits of a real speaker, from synthetic voices",
        problem=problem,
        notes=("pretrained on 195 manners of espeak-ng's voices alone",),
    )
