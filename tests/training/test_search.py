"""Contribution analysis and plan search."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.support.networks import Network
from tinykit.errors import DoesNotFitError, PlanError
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Step, evaluate
from tinykit.passes import simplify
from tinykit.training.contribution import LayerContribution, analyse, differentiable
from tinykit.training.kept import Kept
from tinykit.training.plan import Optimizer, Plan, trainable_layers
from tinykit.training.search import (
    SHARES,
    Budget,
    Cost,
    Found,
    search,
    searched_text,
    space_of,
)

LABELS = [0, 1, 2, 0]


@pytest.fixture(scope="module")
def model() -> tuple[Graph, Array]:
    net = Network((1, 6, 6, 4))
    x = net.depthwise(net.conv("x", 8, (1, 1)))
    x = net.conv(x, 6, (3, 3))
    return simplify(net.graph(net.dense(net.mean(x), 3))), net.inputs(len(LABELS))


@pytest.fixture(scope="module")
def contributions(model: tuple[Graph, Array]) -> dict[str, LayerContribution]:
    return dict(analyse(*model, LABELS))


def test_a_contribution_is_the_square_of_the_mean_gradient(
    model: tuple[Graph, Array], contributions: dict[str, LayerContribution]
) -> None:
    graph, samples = model
    training, layers = differentiable(graph)
    assert [op.name for op in layers] == [op.name for op in trainable_layers(graph)]
    gradients = []
    for sample, label in zip(samples, LABELS, strict=True):
        run = evaluate(training, {"x": sample}, step=Step(label=label), real=True)
        gradients.append(run.gradients)
    for op in layers:
        found = contributions[op.name]
        weights = np.mean([g[f"{op.name}/weights"] for g in gradients], axis=0)
        bias = np.mean([g[f"{op.name}/bias"] for g in gradients], axis=0)
        assert found.bias == pytest.approx((bias**2).sum())
        assert found.weights(weights.shape[-1]) == pytest.approx((weights**2).sum())
        assert all(value >= 0 for value in found.channels)
    head = graph[layers[-1].inputs[1]]
    real = np.abs(head.value).astype(float) * np.reshape(head.quant.scale, (-1, 1))
    first = int(real.sum(axis=0).argmax())  # plans take the largest magnitudes first
    weights = np.mean([g[f"{layers[-1].name}/weights"] for g in gradients], axis=0)
    assert contributions[layers[-1].name].weights(1) == pytest.approx(
        (weights[:, first] ** 2).sum()
    )


def cost_of(graph: Graph, plan: Plan) -> Cost:
    """Costs that are easy to add up, and not those that the search assumes."""
    choices = plan.resolve(graph)
    trained = sum(
        3 * graph[op.inputs[1]].size // graph[op.inputs[1]].shape[-1] * choices[op.name].channels
        + 7 * graph[op.outputs[0]].shape[-1] * choices[op.name].bias
        for op in trainable_layers(graph)
    )
    return Cost(1000 + trained, 5000, 100 * trained)


def test_no_plan_that_fits_is_much_better(
    model: tuple[Graph, Array], contributions: dict[str, LayerContribution]
) -> None:
    """Exact costs are what the search assumes, but twice as high and from another base."""
    graph, _ = model
    space = space_of(graph, contributions, Optimizer())
    genes = range(2 * len(SHARES))
    prices = {
        space.plan(genome, "", Optimizer()).model_dump_json(exclude={"name"}): (
            1000 + 2 * space.price(genome)[0],
            space.gain(genome),
        )
        for genome in itertools.product(genes, repeat=len(space.layers))
        if any(genome)
    }
    total = sum(c.bias + sum(c.channels) for c in contributions.values())
    for sram in (1500, 3000, 4000):

        def measure(plan: Plan) -> Cost:
            return Cost(prices[plan.model_dump_json(exclude={"name"})][0], 0, 0)

        found = search(graph, contributions, Budget(sram, 0), measure)
        assert found.cost == measure(found.plan)
        assert found.cost.sram <= sram
        best = max(gain for size, gain in prices.values() if size <= sram) / total
        assert 0.9 * best <= found.contribution <= best + 1e-9


def test_a_seed_makes_the_same_plan_again(
    model: tuple[Graph, Array], contributions: dict[str, LayerContribution]
) -> None:
    graph, _ = model
    first, second = (
        search(graph, contributions, Budget(1400, 6000), lambda p: cost_of(graph, p), seed=5)
        for _ in range(2)
    )
    assert first == second
    fitting = [tried for tried in first.tried if tried.cost.sram <= 1400]
    assert max(tried.contribution for tried in fitting) == first.contribution
    assert len(first.tried) > len(fitting)
    assert Plan.parse(tomllib.loads(searched_text(first)), "x") == first.plan


def test_instructions_have_a_limit_too(
    model: tuple[Graph, Array], contributions: dict[str, LayerContribution]
) -> None:
    graph, _ = model
    budget = Budget(10**6, 10**6, 30_000)
    found = search(graph, contributions, budget, lambda plan: cost_of(graph, plan))
    assert found.cost.instructions <= 30_000
    free = search(graph, contributions, Budget(10**6, 10**6), lambda plan: cost_of(graph, plan))
    assert free.contribution == pytest.approx(1.0)
    assert found.contribution < free.contribution


def test_what_cannot_fit_is_said_with_its_figures(
    model: tuple[Graph, Array], contributions: dict[str, LayerContribution]
) -> None:
    graph, _ = model
    with pytest.raises(DoesNotFitError, match=r"not even the last layer .* bytes of SRAM"):
        search(graph, contributions, Budget(900, 6000), lambda plan: cost_of(graph, plan))


def test_an_interrupted_search_goes_on_from_what_it_kept(
    model: tuple[Graph, Array], tmp_path: Path
) -> None:
    graph, samples = model
    measured: list[str] = []

    def run(stop_after: int | None = None) -> Found:
        kept = Kept.open(tmp_path / "build" / "search.json", graph, samples, LABELS)

        def measure(plan: Plan) -> Cost:
            if stop_after is not None and len(measured) >= stop_after:
                raise KeyboardInterrupt
            measured.append(plan.model_dump_json())
            return cost_of(graph, plan)

        return search(
            graph,
            kept.contributions(),
            Budget(1450, 6000),
            lambda plan: kept.cost(plan, "board", measure),
        )

    with pytest.raises(KeyboardInterrupt):
        run(stop_after=2)
    found = run()
    assert len(measured) == len(set(measured)) > 2
    count = len(measured)
    assert run() == found
    assert len(measured) == count
    other = Kept.open(tmp_path / "build" / "search.json", graph, samples[::-1], LABELS)
    assert not other.layers
    with pytest.raises(PlanError, match="your data"):
        Kept.open(tmp_path / "search.json", graph, None, None)
