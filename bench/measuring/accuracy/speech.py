"""Spoken digits of a new speaker, by a network that has heard the five others.

Of the speaker's 50 recordings of each digit the first ten are learnt, the last thirty are the test.
A seed is the order of the samples and the rounding; the network goes on with the head that it has.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from bench.measuring.accuracy import sound
from bench.measuring.accuracy.pretrain import pretrained, quantized, separable
from bench.measuring.accuracy.problem import BIASES, FULL, HEAD, HEAD_ONLY, Problem, Task, Way
from tinykit.ir import Graph
from tinykit.training.plan import Update

LEARNT, TESTED = 10, 20  # recordings below the one are learnt, from the other on tested
EPOCHS = 4
SPARSE = (BIASES, Update(layers=(2, 4), weights=0.5), HEAD)  # pointwise layers of two blocks
WAYS = {
    "head only": Way(HEAD_ONLY, (0.003, 0.01, 0.03), 10),
    "biases": Way((BIASES, HEAD), (0.002, 0.005, 0.01), 10),
    "sparse": Way(SPARSE, (0.002, 0.005, 0.01), 10),
    "full": Way(FULL, (0.001, 0.0025, 0.005), 10),
}

network = partial(separable, sound.SHAPE, 10, 32, 3, ((10, 4), (2, 2)))


def others(speaker: str) -> list[str]:
    """Whom the network has heard."""
    return [other for other in sound.SPEAKERS if other != speaker]


def user(graph: Graph, speaker: str, known: tuple[sound.Floats, sound.Labels]) -> Problem:
    """The new speaker's share; known: what sets the exponents of the gradients."""
    x, y, number = sound.recordings(speaker)
    chosen = np.random.default_rng(0).permutation(len(known[0]))[:32]
    learnt, tested = number < LEARNT, number >= TESTED
    return Problem(
        graph,
        quantized(graph, x[learnt], y[learnt]),
        quantized(graph, x[tested], y[tested]),
        quantized(graph, known[0][chosen], known[1][chosen]),
    )


def problem(case: str, cache: Path) -> Problem:
    """case: the new speaker."""
    heard = [sound.recordings(speaker) for speaker in others(case)]
    x = np.concatenate([part[0] for part in heard])
    y = np.concatenate([part[1] for part in heard])
    graph = pretrained(network, x, y, cache, f"speech-not-{case}", EPOCHS, sound.jittered)
    return user(graph, case, (x, y))


def task() -> Task:
    """Two of the six speakers, each unknown to a network of its own."""
    return Task(
        name="speech",
        title="spoken digits of a new speaker",
        cases=sound.SPEAKERS[:2],
        ways=WAYS,
        problem=problem,
        notes=("log-mel features, a network of 5,000 parameters",),
    )
