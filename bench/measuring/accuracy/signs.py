"""Digits shown with a hand, by MCUNet-5fps that knows ImageNet: a fresh head, ten new classes.

2,062 photos by 218 people, split at random as ANCHORS' simulation split them: 1,500 to learn from,
562 to be tested on, so people overlap. The split is fixed; a seed is the order of the samples, the
rounding and the fresh head.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from bench.measuring.accuracy.engine import features
from bench.measuring.accuracy.problem import (
    FULL,
    HEAD,
    HEAD_ONLY,
    Head,
    Labelled,
    Problem,
    Task,
    Way,
)
from bench.measuring.models import shared_models
from bench.measuring.photos import ARCHIVE, _labelled
from tinykit.errors import UsageError
from tinykit.importers import load_model
from tinykit.ir import Array, Graph
from tinykit.passes import simplify
from tinykit.passes.cut import cut
from tinykit.passes.head import replace_head
from tinykit.training.plan import Update, trainable_layers, tte_plan

MODEL = "mcunet-5fps-10c.tflite"
CLASSES = 10
LEARNT = 1500
STATISTICS = 256  # samples whose features scale the fresh head
SPLIT_SEED = 0
EPOCHS, FULL_EPOCHS = 6, 2  # a step of the whole network takes ten times as long
WARMUP = 500  # steps, for a fresh head
CERTAIN = 0.01  # samples within it of their label skip the backward pass, in float32 as well
RATES = (0.0025, 0.005)  # 0.01 broke down in validation while logits were int8; now it does not


def split(count: int) -> tuple[Array, Array]:
    """(to learn from, to be tested on): indices."""
    order = np.random.default_rng(SPLIT_SEED).permutation(count)
    return order[:LEARNT], order[LEARNT:]


@lru_cache(maxsize=1)
def photos() -> Labelled:
    """All of them, 128×128×3. Raises UsageError where they are not there."""
    path = shared_models().parent / "data" / ARCHIVE
    if not path.is_file():
        raise UsageError(f"{path}: the photos of hands are not there", "choose another --task")
    with zipfile.ZipFile(path) as archive:
        members = sorted(name for name in archive.namelist() if name.endswith(".JPG"))
        found = _labelled(archive, members, (128, 128, 3), CLASSES)
    return Labelled(found.x[:, None], np.array(found.labels))


def problem(case: str, cache: Path) -> Problem:
    """case: "fresh" head, or the "imagenet" head's first ten rows."""
    known = photos()
    learnt, tested = split(len(known.y))
    train, test = known.take(learnt), known.take(tested)
    graph = simplify(load_model(shared_models() / MODEL))
    if case == "imagenet":
        return Problem(graph, train, test, train)
    old = trainable_layers(graph)[-1]
    parts = cut(graph, {old.name})
    statistics = features(parts.prefix, train.x, cache / "signs-features", cache)[:STATISTICS]

    def fresh(seed: int) -> Graph:
        return replace_head(parts.suffix, CLASSES, statistics, seed=seed + 1)

    def head(seed: int) -> Head:
        graph = fresh(seed)
        layer = trainable_layers(graph)[-1]
        return {
            f"{layer.name}/weights": graph[layer.inputs[1]].value,
            f"{layer.name}/bias": graph[layer.inputs[2]].value,
        }

    return Problem(joined(parts.prefix, fresh(0)), train, test, train, head)


def joined(prefix: Graph, suffix: Graph) -> Graph:
    """The inverse of a cut."""
    return replace(
        prefix,
        tensors={**prefix.tensors, **suffix.tensors},
        ops=(*prefix.ops, *suffix.ops),
        outputs=suffix.outputs,
    ).check()


def _published(scheme: str) -> tuple[Update, ...]:
    return tte_plan(shared_models() / "tte_schemes.json", "mcunet", scheme).update


def task() -> Task:
    """Raises UsageError where the models are not there."""
    return Task(
        name="signs",
        title="sign-language digits, MCUNet-5fps from ImageNet",
        cases=("fresh",),
        ways={
            "head only": Way(HEAD_ONLY, (0.003, 0.01), EPOCHS, CERTAIN),
            "biases": Way(
                (Update(layers="last 21", bias=True), HEAD), RATES, EPOCHS, CERTAIN, WARMUP
            ),
            "sparse": Way(_published("49kb"), RATES, EPOCHS, CERTAIN, WARMUP),
            "sparse 99kb": Way(_published("99kb"), RATES, EPOCHS, CERTAIN, WARMUP),
            "full": Way(FULL, (0.001, 0.0025), FULL_EPOCHS, CERTAIN, WARMUP),
        },
        problem=problem,
        apart=True,
        notes=(
            "sparse: scheme 49kb, as published",
            "people overlap in this random split",
            f"{WARMUP} steps of warm-up but for the head alone",
            f"samples within {CERTAIN:g} of their label skip the backward pass, by both engines",
        ),
    )
