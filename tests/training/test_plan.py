"""Update plans: what each kind makes trainable, and that it trains what it says."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.networks import Network
from tinykit.codegen import compile_model
from tinykit.errors import PlanError, UsageError
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import evaluate
from tinykit.training.plan import Optimizer, Plan, Update
from tinykit.training.reference import ReferenceTrainer


def network() -> tuple[Graph, Array]:
    net = Network((1, 9, 8, 3), seed=61)
    x = net.conv("x", 8, (3, 3), (2, 2))
    x = net.depthwise(x)
    x = net.conv(x, 12, (1, 1))
    return net.graph(net.softmax(net.dense(net.mean(x), 4))), net.inputs(6)


def trained(*updates: Update) -> dict[str, tuple[int, ...]]:
    """Shapes of the trained tensors, by layer number and role; all of them move in six steps."""
    graph, samples = network()
    layers = [op.name for op in graph.ops if len(op.inputs) > 1]
    plan = Plan(name="p", optimizer=Optimizer(learning_rate=0.1), update=updates)
    labels = [i % 4 for i in range(6)]
    made = compile_model(graph, name="m", plan=plan, samples=samples, labels=labels)
    assert made.train is not None
    trainer = ReferenceTrainer(made.train.graph, plan.optimizer)
    before = dict(trainer.parameters)
    for sample, label in zip(samples, labels, strict=True):
        trainer.step(sample, label)
    found = {}
    for name, value in trainer.parameters.items():
        if not name.endswith("/residual"):
            assert not np.array_equal(value, before[name]) or not np.array_equal(
                trainer.parameters[f"{name}/residual"], before[f"{name}/residual"]
            ), f"{name} never moves"
            layer, role = name.rsplit("/", 1)
            found[f"{layers.index(layer)} {role}"] = value.shape
    return found


BIAS: dict[str, tuple[int, ...]] = {
    "0 bias": (8,), "1 bias": (8,), "2 bias": (12,), "3 bias": (4,),
}  # fmt: skip
FULL: dict[str, tuple[int, ...]] = {
    "0 weights": (8, 3, 3, 3), "1 weights": (1, 3, 3, 8), "2 weights": (12, 1, 1, 8),
    "3 weights": (4, 12),
}  # fmt: skip


def test_biases_of_the_last_layers() -> None:
    for count in (1, 2, 4):
        expected = {key: shape for key, shape in BIAS.items() if int(key[0]) >= 4 - count}
        assert trained(Update(layers=f"last {count}", bias=True)) == expected


def test_everything() -> None:
    assert trained(Update(layers="all", bias=True, weights=1.0)) == BIAS | FULL


@pytest.mark.parametrize("select", ["magnitude", "first"])
def test_fractions_of_channels(select: str) -> None:
    update = Update.model_validate({"layers": [1, 2], "weights": 0.5, "select": select})
    assert trained(update, Update(layers="head", bias=True)) == {
        "1 weights": (1, 3, 3, 4), "2 weights": (12, 1, 1, 4), "3 bias": (4,),
    }  # fmt: skip


def test_numbered_channels_come_first_and_compute_the_same() -> None:
    graph, samples = network()
    plan = Plan(name="p", update=(Update(layers=(3,), channels=(10, 2, 7)),))
    made = compile_model(graph, name="m", plan=plan, samples=samples, labels=[0] * 6)
    assert made.train is not None
    old = graph[graph.of_kind("fully_connected")[0].inputs[1]].value
    layer = made.infer.graph.of_kind("fully_connected")[0]
    np.testing.assert_array_equal(made.infer.graph[layer.inputs[1]].value, old[:, [2, 7, 10]])
    for sample in samples:
        outputs = [evaluate(g, {"x": sample})[g.outputs[0]] for g in (graph, made.infer.graph)]
        np.testing.assert_array_equal(*outputs)
    assert trained(Update(layers=(3,), channels=(10, 2, 7))) == {"3 weights": (4, 3)}


def test_layers_that_share_channels_may_number_the_same() -> None:
    expected = {"1 weights": (1, 3, 3, 2), "2 weights": (12, 1, 1, 2)}
    assert trained(Update(layers=(1, 2), channels=(6, 1))) == expected
    with pytest.raises(PlanError, match="cannot be brought into the order"):
        trained(Update(layers=(1,), channels=(6, 1)), Update(layers=(2,), channels=(5, 2)))


def test_later_entries_win_key_by_key() -> None:
    found = trained(
        Update(layers="all", bias=True, weights=1.0),
        Update(layers="all", bias=False),
        Update(layers=(0, 1), weights=0.0),
        Update(layers=(2,), channels=(3,)),
    )
    assert found == {"2 weights": (12, 1, 1, 1), "3 weights": (4, 12)}


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"layers": [0], "channels": [1]}, "cannot be brought into the order"),
        ({"layers": [3], "channels": [12]}, "has no channel 12"),
        ({"layers": ["nowhere"], "weights": 1.0}, "no layer nowhere"),
        ({"layers": "all", "weights": 0.0}, "nothing learns"),
    ],
)
def test_plans_that_do_not_fit_the_model(update: dict[str, object], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        trained(Update.model_validate(update))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"layers": "all", "channels": [1], "weights": 0.5}, "either weights or channels"),
        ({"layers": "all", "channels": [1, 1]}, "different numbers"),
        ({"layers": "all", "channels": []}, "at least 1"),
        ({"layers": "all", "chanels": [1]}, "did you mean channels"),
    ],
)
def test_mistakes_in_plans(entry: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan.parse({"update": [entry]}, "plan.toml")
