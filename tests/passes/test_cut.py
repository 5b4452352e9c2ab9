"""Where a graph is cut, that both parts are the whole, and that the suffix trains as the whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.architectures import ARCHITECTURES, Architecture, residual
from tests.support.networks import Network
from tinykit.codegen import compile_model, write
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import evaluate
from tinykit.passes.cut import cut
from tinykit.passes.head import replace_head
from tinykit.training.features import divide
from tinykit.training.plan import Optimizer, Plan, Update, trainable_layers, tte_plan

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def names(graph: Graph) -> list[str]:
    return [op.name for op in graph.ops]


def layers(graph: Graph, *numbers: int) -> frozenset[str]:
    return frozenset(trainable_layers(graph)[number].name for number in numbers)


def features(prefix: Graph, samples: Array) -> Array:
    """int8 [n, …] of the prefix."""
    return np.stack([evaluate(prefix, {prefix.inputs[0]: s})[prefix.outputs[0]] for s in samples])


@pytest.mark.parametrize(
    ("learns", "cut_behind"),
    [
        ((-1,), "mean_10"),
        ((7,), "add_8"),
        ((6,), "add_4"),  # inside the second block: its shortcut goes around
        ((4, 7), "add_4"),
        ((3,), "conv2d_0"),
        ((1, 7), "conv2d_0"),
        ((0,), None),
    ],
)
def test_nothing_goes_around_the_cut(learns: tuple[int, ...], cut_behind: str | None) -> None:
    """The network: conv 0; two blocks of conv, depthwise, conv and add; conv, mean, dense."""
    net, output = residual()
    graph = net.graph(output)
    parts = cut(graph, layers(graph, *learns))
    assert names(parts.prefix) + names(parts.suffix) == names(graph)
    if cut_behind is None:
        assert parts.tensor == graph.inputs[0]
        assert not parts.prefix.ops
    else:
        assert parts.prefix.ops[-1].name == cut_behind
        assert parts.tensor == parts.prefix.ops[-1].outputs[0]


def test_a_side_branch_to_the_output_is_no_way_around() -> None:
    """The frozen branch that joins behind the trained layer stays with it."""
    net = Network((1, 8, 8, 3), seed=51)
    x = net.conv("x", 6)
    side = net.conv(x, 6, (1, 1))
    graph = net.graph(net.mean(net.add(side, net.conv(x, 6))))
    parts = cut(graph, layers(graph, 2))
    assert names(parts.prefix) == ["conv2d_0"]
    assert names(parts.suffix) == names(graph)[1:]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda f: f.__name__)
def test_suffix_after_prefix_is_the_whole(architecture: Architecture) -> None:
    net, output = architecture()
    graph = net.graph(output)
    x = net.inputs(1)[0]
    whole = evaluate(graph, {graph.inputs[0]: x})[output]
    for op in trainable_layers(graph):
        parts = cut(graph, {op.name})
        assert op.name in names(parts.suffix)
        assert op.name not in names(parts.prefix)
        middle = evaluate(parts.prefix, {parts.prefix.inputs[0]: x})[parts.tensor]
        run = evaluate(parts.suffix, {parts.tensor: middle})
        np.testing.assert_array_equal(run[output], whole)


PARTS = Plan(
    name="parts",
    optimizer=Optimizer(learning_rate=0.02),
    update=(
        Update(layers="last 4", bias=True),
        Update(layers="last 3", weights=0.4),  # by magnitude: channels change places
        Update(layers="head", bias=True, weights=1.0),
    ),
)


@needs_gcc
def test_a_small_network_trains_on_features_as_on_samples(tmp_path: Path) -> None:
    net, output = residual()
    graph, samples = net.graph(output), net.inputs(8)
    prefix, suffix = trained_both_ways(graph, PARTS, samples, [i % 6 for i in range(8)], tmp_path)
    assert names(prefix)[-1] == "add_4"
    assert len(suffix.ops) < len(graph.ops)


@needs_gcc
@pytest.mark.slow
def test_mcunet_trains_on_features_as_on_samples(shared: Path, tmp_path: Path) -> None:
    graph = load_model(shared / "models" / "mcunet-5fps-10c.tflite")
    samples = Network(graph[graph.inputs[0]].shape, seed=52).inputs(3)
    graph = replace_head(graph, 5, samples[:1])
    plan = tte_plan(shared / "models" / "tte_schemes.json", "mcunet", "49kb")
    prefix, suffix = trained_both_ways(graph, plan, samples, [3, 0, 4], tmp_path, calibration=1)
    assert prefix[prefix.outputs[0]].shape == (1, 8, 8, 160)
    assert sum(op.kind == "add" for op in suffix.ops) == 4


def trained_both_ways(
    graph: Graph,
    plan: Plan,
    samples: Array,
    labels: list[int],
    folder: Path,
    calibration: int = 4,
) -> tuple[Graph, Graph]:
    """The parts, after C has trained the whole and the suffix to the same parameters."""
    parts = divide(graph, plan)
    codes = features(parts.prefix, samples)

    def built(name: str, graph: Graph, plan: Plan, x: Array) -> HostModel:
        made = compile_model(
            graph, name=name, plan=plan, samples=x[:calibration], labels=labels[:calibration]
        )
        write(made, folder / name)
        return HostModel(folder / name)

    whole = built("whole", graph, plan, samples)
    suffix = built("suffix", parts.suffix, parts.plan, codes)
    begun = whole.parameters()
    assert suffix.parameters() == begun
    for sample, code, label in zip(samples, codes, labels, strict=True):
        assert suffix.train(code, label) == whole.train(sample, label)
    assert suffix.parameters() == whole.parameters() != begun
    np.testing.assert_array_equal(suffix.infer(codes[0]), whole.infer(samples[0]))
    return parts.prefix, parts.suffix


def test_the_settled_plan_means_the_same_channels() -> None:
    net, output = residual()
    graph = net.graph(output)
    parts = divide(graph, PARTS)
    wanted = {name: (c.bias, c.channels) for name, c in PARTS.resolve(graph).items() if c.trains}
    found = {n: (c.bias, c.channels) for n, c in parts.plan.resolve(parts.suffix).items()}
    assert wanted == {name: choice for name, choice in found.items() if any(choice)}
    assert all(choice.select == "first" for choice in parts.plan.resolve(parts.suffix).values()
               if choice.trains)  # fmt: skip
