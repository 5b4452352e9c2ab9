"""Seven exercises of a new person, seen by a wrist watch: the network and splits of
examples/gesture_personalization (no person is in two parts, and a gap lies between a recording's
first part, which is learnt, and its last, which is the test)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bench.measuring.accuracy.problem import (
    BIASES,
    FULL,
    HEAD,
    HEAD_ONLY,
    Labelled,
    Problem,
    Task,
    Way,
)
from tinykit.passes import simplify
from tinykit.resources import resource_path
from tinykit.training.plan import Update

EXAMPLE = resource_path("examples") / "gesture_personalization"
EPOCHS = 2  # windows overlap by three quarters; the example learns for 400 steps
SPARSE = ("stem", "block1_expand", "block2_expand", "block3_expand", "block4_expand")


def problem(case: str, cache: Path) -> Problem:
    """case: the number of the person."""
    if str(EXAMPLE) not in sys.path:
        sys.path.insert(0, str(EXAMPLE))
    from data import Windows, calibration_samples, make_split, validation_split
    from factory import int8_windows, make_factory_model

    factory = make_factory_model(int(case))
    graph = simplify(factory.graph())

    def once(windows: Windows) -> Labelled:
        """Without the repetitions that fill up the example's steps."""
        _, first = np.unique(windows.x.reshape(len(windows), -1), axis=0, return_index=True)
        chosen = np.sort(first)
        return Labelled(int8_windows(windows, graph)[chosen], windows.y[chosen])

    split, validation = make_split(int(case)), validation_split(int(case))
    known = calibration_samples(split, 32)
    calibration = Labelled(int8_windows(known, graph), known.y)

    def of(adapt: Windows, test: Windows, held: Problem | None) -> Problem:
        tested = Labelled(int8_windows(test, graph), test.y)
        return Problem(graph, once(adapt), tested, calibration, held=held)

    return of(split.adapt, split.test, of(validation.adapt, validation.test, None))


def task() -> Task:
    """The first three of ten people."""
    return Task(
        name="watch",
        title="watch gestures of a new person",
        cases=("1", "2", "3"),
        ways={
            "head only": Way(HEAD_ONLY, (0.01, 0.03, 0.06), EPOCHS),
            "biases": Way((BIASES, HEAD), (0.002, 0.004, 0.008), EPOCHS),
            "sparse": Way(
                (BIASES, Update(layers=SPARSE, weights=1.0), HEAD), (0.001, 0.002, 0.004), EPOCHS
            ),
            "full": Way(FULL, (0.0005, 0.001, 0.002), EPOCHS),
        },
        problem=problem,
    )
