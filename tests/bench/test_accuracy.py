"""The accuracy bench: splits, statistics, the store, and that float32 training is the engine's."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.measuring.accuracy import signs, sound, speech, wand
from bench.measuring.accuracy.engine import learn, prepare
from bench.measuring.accuracy.grid import ablation, chosen, comparison
from bench.measuring.accuracy.problem import (
    BIASES,
    FULL,
    HEAD,
    Labelled,
    Problem,
    Task,
    Way,
    orders,
    validation_parts,
)
from bench.measuring.accuracy.statistics import Interval, over_seeds, paired, pooled, student
from bench.measuring.accuracy.store import Cell, Result, Store, result_of
from tests.support.architectures import residual
from tinykit.codegen.generate import graphs
from tinykit.ops.evaluate import evaluate, initial_values
from tinykit.training.features import divide
from tinykit.training.plan import Optimizer, Update

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def cell(**changes: object) -> Cell:
    return replace(Cell("t", "a", "sparse", "integer", 0, 0.01, 3), **changes)  # type: ignore[arg-type]


def result(after: float, **changes: object) -> Result:
    return Result(cell(**changes), 10.0, after, 100, 1.0, 50)


# --- splits ---------------------------------------------------------------------------------------


def test_no_speaker_is_heard_before() -> None:
    for speaker in sound.SPEAKERS:
        assert speaker not in speech.others(speaker)
        assert len(speech.others(speaker)) == 5
    assert speech.LEARNT <= speech.TESTED  # no recording is learnt and tested


def test_no_photo_is_learnt_and_tested() -> None:
    learnt, tested = signs.split(2062)
    assert (len(learnt), len(tested)) == (1500, 562)
    assert not set(learnt) & set(tested)


def test_folds_of_the_wand_share_nothing() -> None:
    y = np.repeat(np.arange(5), 25)
    everything: list[int] = []
    for fold in range(wand.FOLDS):
        parts = wand.folds(y, fold)
        assert [len(part) for part in parts] == [50, 50, 25]
        assert len(set(np.concatenate(parts))) == 125
        everything.extend(parts[2])
        for part, each in zip(parts, (10, 10, 5), strict=True):
            assert set(np.bincount(y[part])) == {each}
    assert sorted(everything) == list(range(125))


def test_a_quarter_turn_is_a_rotation() -> None:
    axes = wand.turned(np.eye(6, dtype=np.float32))
    for part in (axes[:3, :3], axes[3:, 3:]):
        assert np.linalg.det(part) == pytest.approx(1)
        np.testing.assert_array_equal(part @ part.T, np.eye(3))
        assert part[0, 0] == 1
    assert not axes[:3, 3:].any()


def test_validation_takes_a_fifth_of_each_class_and_no_test_sample() -> None:
    y = np.repeat(np.arange(4), (10, 20, 5, 15))
    learnt, held = validation_parts(y)
    assert sorted([*learnt, *held]) == list(range(50))
    assert list(np.bincount(y[held])) == [2, 4, 1, 3]


def test_every_epoch_shows_every_sample_once() -> None:
    order = orders(7, 3, 1).reshape(3, 7)
    np.testing.assert_array_equal(np.sort(order, axis=1), [range(7)] * 3)
    assert not np.array_equal(order[0], order[1])
    assert not np.array_equal(orders(7, 3, 1), orders(7, 3, 2))


# --- statistics -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("freedom", "known"), [(4, 2.776), (12, 2.179), (30, 2.042), (120, 1.980)])
def test_students_t(freedom: int, known: float) -> None:
    """Against the tables of any textbook."""
    assert student(freedom) == pytest.approx(known, abs=6e-4)


def test_an_interval() -> None:
    found = Interval.of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.mean, found.n) == (3.0, 5)
    assert found.deviation == pytest.approx(1.5811, abs=1e-4)
    assert found.low == pytest.approx(3 - 2.776 * 1.5811 / 5**0.5, abs=1e-3)
    assert np.isnan(Interval.of([2.0]).half)


def test_pairs_are_of_the_same_seed_and_case() -> None:
    def key(c: Cell) -> tuple[object, ...]:
        return (c.task, c.case, c.way, c.seed)

    integer = [result(90 + s, seed=s) for s in range(3)]
    floats = [result(89.0, seed=s, engine="float32") for s in (2, 0)]
    pairs = paired(integer, floats, key)
    assert {p.first.cell.seed: p.difference for p in pairs} == {0: 1.0, 2: 3.0}
    with pytest.raises(ValueError, match="two results"):
        paired([*integer, integer[0]], floats, key)


def test_cases_and_ways_of_one_seed_count_as_one() -> None:
    """Ten equal cases are no ten observations."""
    pairs = paired(
        [result(80 + s, seed=s, case=str(c)) for s in range(2) for c in range(10)],
        [result(80.0, seed=s, case=str(c), engine="float32") for s in range(2) for c in range(10)],
        lambda c: (c.case, c.seed),
    )
    found = pooled(pairs)
    assert (found.n, found.mean) == (2, 0.5)


def test_a_seed_that_lacks_a_case_does_not_count() -> None:
    found = [result(80.0, case="a"), result(90.0, case="b"), result(0.0, case="a", seed=1)]
    assert over_seeds(found, 2) == Interval.of([85.0])


# --- rates, cells, store --------------------------------------------------------------------------


def task(cases: tuple[str, ...] = ("a", "b")) -> Task:
    def none(case: str, cache: Path) -> Problem:
        raise AssertionError

    return Task("t", "a task", cases, {"sparse": Way(FULL, (0.01, 0.1, 0.001), 3)}, none)


def test_the_rate_is_the_best_one_of_validation() -> None:
    held = [result(70.0, rate=0.01, validation=True), result(90.0, rate=0.01, case="b",
            validation=True), result(79.0, rate=0.1, validation=True), result(79.0, rate=0.1,
            case="b", validation=True), result(99.0, rate=0.001)]  # fmt: skip
    assert chosen(task(), "sparse", held) == (0.01, True)
    assert chosen(task(), "sparse", held[1:]) == (0.1, True)  # a rate without all cases is out
    assert chosen(task(), "sparse", held[-1:]) == (0.01, False)  # test results choose nothing


def test_cells_have_both_engines_for_every_seed() -> None:
    cells = comparison(task(), [])
    assert len(cells) == len({c.key for c in cells}) == 5 * 2 * 2
    assert not ablation(task(), [])


def test_what_is_stored_is_not_done_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    first = result(81.25, changes={"master": "int8"})
    assert store.get(first.cell) is None
    store.put(first)
    assert store.get(cell(changes={"master": "int8"})) == first
    assert store.get(cell()) is None
    (tmp_path / "results" / f"{cell(seed=4).key}.json").write_text('{"cell": {"ta')
    assert store.get(cell(seed=4)) is None  # half a file is none
    assert store.all() == [first]
    again = Store(tmp_path / "other")
    again.fill(result_of(json.loads(json.dumps(json.loads(path.read_text()))))
               for path in [tmp_path / "results" / f"{first.cell.key}.json"])  # fmt: skip
    assert again.all() == [first]


# --- both engines ---------------------------------------------------------------------------------


def small_problem() -> Problem:
    """Six patterns in noise."""
    net, output = residual()
    patterns = net.inputs(6)
    y = np.arange(60) % 6
    noise = net.random.normal(0, 20, (60, *net.shape))
    x = np.clip(patterns[y] + noise, -128, 127).astype(np.int8)
    return Problem(
        net.graph(output), Labelled(x[:42], y[:42]), Labelled(x[42:], y[42:]),
        Labelled(x[:12], y[:12]),
    )  # fmt: skip


PARTS = (BIASES, Update(layers=(3, 4), weights=0.5), HEAD)


@pytest.mark.parametrize("update", [FULL, PARTS], ids=["full", "parts"])
def test_a_float_step_is_the_reference_gradient(update: tuple[Update, ...]) -> None:
    """Rate times the float64 straight-through gradient, but for the rounding of activations."""
    pytest.importorskip("tensorflow")
    from bench.measuring.accuracy.floats import FloatNetwork
    from tinykit.ops.evaluate import Step

    problem = small_problem()
    plan = Way(update, (0.01,), 1).plan(0.01, 0, 42)
    parts = divide(problem.graph, plan)
    graph, training = graphs(parts.suffix, parts.plan)
    assert training is not None
    network = FloatNetwork(graph)
    begun = network.initial()
    sample, label = problem.train.x[0], int(problem.train.y[0])
    moved = network.train(begun, problem.train.x, problem.train.y, np.array([0]),
                          Optimizer(learning_rate=0.5))  # fmt: skip
    inputs = {training.inputs[0]: sample}
    values = initial_values(training)
    run = evaluate(training, inputs, parameters=values, step=Step(label=label), real=True)
    assert set(run.gradients) == set(moved)
    step = np.concatenate([((begun[n] - moved[n]) / 0.5).ravel() for n in moved])
    gradient = np.concatenate([np.asarray(run.gradients[n]).ravel() for n in moved])
    size = float(np.linalg.norm(gradient))
    assert float(step @ gradient) / size / float(np.linalg.norm(step)) > 0.98
    assert float(np.linalg.norm(step)) == pytest.approx(size, rel=0.1)


def test_a_certain_sample_changes_nothing_and_accumulation_waits() -> None:
    pytest.importorskip("tensorflow")
    from bench.measuring.accuracy.floats import FloatNetwork

    problem = small_problem()
    graph, _ = graphs(problem.graph, Way((HEAD,), (0.01,), 1).plan(0.01, 0, 42))
    network = FloatNetwork(graph)
    begun = network.initial()
    x, y = problem.train.x, problem.train.y

    def moved(order: list[int], **more: object) -> float:
        optimizer = Optimizer(learning_rate=0.1).model_copy(update=more)
        after = network.train(begun, x, y, np.array(order), optimizer)
        return float(sum(np.abs(after[name] - begun[name]).sum() for name in begun))

    assert moved([0]) > 0
    assert moved([0], skip_below=1.0) == 0
    assert moved([0, 1, 2], accumulate=4) == 0
    assert moved([0, 0], accumulate=2) == pytest.approx(moved([0]), rel=1e-5)


@needs_gcc
def test_both_engines_learn_the_same_task(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    from bench.measuring.accuracy.floats import FloatNetwork

    problem = small_problem()
    plan = Way(PARTS, (0.03,), 12).plan(0.03, 0, 42)
    prepared = prepare(problem, plan, tmp_path / "work", tmp_path)
    order = orders(42, 12, 0)
    found = learn(prepared, plan, None, order, tmp_path / "work")
    again = learn(prepared, plan, None, order, tmp_path / "work")
    assert replace(again, seconds=0) == replace(found, seconds=0)
    assert found.after >= 80 > 50 > found.before
    network = FloatNetwork(prepared.forward)
    x, y = prepared.train.x, prepared.train.y
    values = network.train(network.initial(), x, y, order, plan.optimizer)
    right = network.classify(values, prepared.test.x) == prepared.test.y
    assert 100 * right.mean() >= 80


@needs_gcc
def test_a_seed_changes_rounding_and_head_alone(tmp_path: Path) -> None:
    """The compiled network takes another seed and head without being compiled anew."""
    problem = small_problem()
    way = Way((HEAD,), (0.03,), 1)
    first, second = way.plan(0.03, 0, 42), way.plan(0.03, 1, 42)
    prepared = prepare(problem, first, tmp_path / "work", tmp_path)
    weights = next(name for name in prepared.forward.tensors if name.endswith("/weights"))
    zeros = {weights: np.zeros_like(prepared.forward[weights].value)}
    started = prepared.started(second, zeros)
    assert started.train is not None
    rules = [op.attributes.rule.seed for op in started.train.graph.ops  # type: ignore[attr-defined]
             if op.phase == "update"]  # fmt: skip
    assert set(rules) == {second.optimizer.seed} != {first.optimizer.seed}
    assert not started.infer.graph[weights].value.any()
    order = orders(42, 1, 0)
    runs = [learn(prepared, plan, None, order, tmp_path / "work") for plan in (first, second)]
    assert runs[0].before == runs[1].before
    with pytest.raises(KeyError):
        prepared.started(second, {"no such tensor": zeros[weights]})


def test_the_page_is_printed_from_the_results(shared: Path) -> None:
    """`python -m bench accuracy --tables` has nothing to change."""
    from bench.accuracy import PAGE, committed, page

    assert PAGE.read_text(encoding="utf-8") == page(committed())
