"""The default plan: the largest of a ladder that passes, written as a file that reads back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tinykit.errors import DoesNotFitError, PlanError
from tinykit.importers import load_model
from tinykit.ir import Graph
from tinykit.passes import simplify
from tinykit.training.ladder import ladder, largest_that_fits, plan_text
from tinykit.training.plan import Optimizer, Plan, trainable_layers


@pytest.fixture(scope="module")
def graph(shared: Path) -> Graph:
    return simplify(load_model(shared / "models" / "mlperf_tiny" / "kws_ref_model.tflite"))


def test_from_everything_down_to_the_head(graph: Graph) -> None:
    rungs = ladder(graph)
    counts = [rung.trained for rung in rungs]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 22_604  # every weight and bias of the model: `tinykit inspect`
    assert counts[-1] == 64 * 12 + 12
    head = rungs[-1].plan.resolve(graph)
    last = trainable_layers(graph)[-1].name
    assert [name for name, choice in head.items() if choice.trains] == [last]


def test_the_largest_that_passes_is_taken(graph: Graph) -> None:
    rungs = ladder(graph)
    budget = rungs[3].trained

    def check(plan: Plan) -> None:
        trained = next(rung.trained for rung in rungs if rung.plan == plan)
        if trained > budget:
            raise DoesNotFitError(f"{trained} are too many")

    assert largest_that_fits(rungs, check) == rungs[3].plan
    budget = 0
    with pytest.raises(DoesNotFitError, match="780"):
        largest_that_fits(rungs, check)


def test_text_reads_back_as_the_same_plan(graph: Graph) -> None:
    optimizer = Optimizer(learning_rate=0.003, schedule="cosine", total_steps=200, accumulate=4)
    for rung in ladder(graph, optimizer):
        assert Plan.parse(tomllib.loads(plan_text(rung.plan)), "text") == rung.plan


def test_a_model_without_weights_cannot_learn() -> None:
    with pytest.raises(PlanError, match="no layer with weights"):
        ladder(Graph("empty", {}, (), (), ()))
