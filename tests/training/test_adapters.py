"""Adapters: what they are made of, that they change nothing at first, and that they learn."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.support.generated_training import train_generated
from tests.support.goldens import tflm
from tests.support.networks import Network
from tests.training.test_gradients_tensorflow import check
from tinykit.codegen import Compiled, compile_model, write
from tinykit.errors import PlanError, UsageError
from tinykit.importers import load_model
from tinykit.ir import Array, Graph, Op, Quantization, Tensor, format_graph
from tinykit.ops.add import AddAttributes
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.update import is_state
from tinykit.report.generated import plan_report
from tinykit.training.plan import Optimizer, Plan, Residual, Update, trainable_layers
from tinykit.training.reference import ReferenceTrainer

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def network() -> tuple[Graph, Array]:
    """A convolution, an inverted bottleneck of another resolution, a classifier."""
    net = Network((1, 13, 9, 3), seed=71)
    x = net.conv("x", 6, (3, 3))
    x = net.conv(x, 10, (1, 1), activation="relu6")
    x = net.depthwise(x, 1, (3, 3), (2, 2), activation="relu6")
    x = net.conv(x, 8, (1, 1), activation="none")
    x = net.conv(x, 8, (1, 1))
    return net.graph(net.softmax(net.dense(net.mean(x), 4))), net.inputs(24)


RANK = Update(layers=(0, 1, 4, "fully_connected_6"), rank=2)
RESIDUAL = Update(layers=(3,), residual=Residual(over=3, pool=2, kernel=3))
BESIDE = (
    Update(layers="last 3", bias=True, weights=0.5),
    Update(layers=(1, 2), residual=Residual(pool=1, kernel=1)),
    Update(layers="head", rank=3),
)
PLANS: Mapping[str, tuple[Update, ...]] = {
    "rank": (RANK,), "residual": (RESIDUAL,), "both": (RANK, RESIDUAL), "beside": BESIDE,
}  # fmt: skip


def compiled(updates: tuple[Update, ...], rate: float = 0.02) -> tuple[Compiled, Graph, Array]:
    graph, samples = network()
    plan = Plan(name="p", optimizer=Optimizer(learning_rate=rate), update=updates)
    labels = [i % 4 for i in range(12)]
    return (
        compile_model(graph, name="m", plan=plan, samples=samples[:12], labels=labels),
        graph,
        samples,
    )


def awake(graph: Graph) -> Graph:
    """The training graph after something was learnt: no weights are all zero."""
    random = np.random.default_rng(5)
    changed = []
    for t in graph.tensors.values():
        if t.storage == "parameters" and not is_state(t.name) and not t.value.any():
            codes = np.clip(np.rint(random.normal(0, 12, t.shape)), -127, 127)
            changed.append(t.with_data(codes.astype(np.int8)))
    assert changed
    return graph.with_tensors(changed)


@pytest.mark.parametrize("plan", PLANS)
def test_outputs_are_the_same_before_anything_is_learnt(plan: str) -> None:
    made, graph, samples = compiled(PLANS[plan])
    adapters = {"rank": 4, "residual": 1, "both": 5, "beside": 3}
    assert len(made.infer.graph.of_kind("add")) == adapters[plan]
    random = np.random.default_rng(0)
    extremes = random.choice(np.array([-128, 127], np.int8), (4, *samples.shape[1:]))
    for sample in (*samples, *extremes):
        outputs = [evaluate(g, {"x": sample})[g.outputs[0]] for g in (graph, made.infer.graph)]
        np.testing.assert_array_equal(*outputs)


def test_a_real_model_with_adapters_is_still_equal_to_tflm(shared: Path) -> None:
    path = shared / "models" / "mlperf_tiny" / "kws_ref_model.tflite"
    graph = load_model(path)
    updates = (
        Update(layers="all", residual=Residual(pool=2, kernel=3)),
        Update(layers=(2, 4), rank=4),
        Update(layers="head", rank=4),
    )
    samples = Network(graph[graph.inputs[0]].shape, seed=72).inputs(4)
    made = compile_model(graph, name="m", plan=Plan(name="p", update=updates), samples=samples[:2],
                         labels=[0, 1])  # fmt: skip
    infer = made.infer.graph
    assert len(infer.of_kind("add")) == len(trainable_layers(graph))
    for sample in samples:
        output = evaluate(infer, {infer.inputs[0]: sample})[infer.outputs[0]]
        np.testing.assert_array_equal(output, tflm(path.read_bytes(), sample))


@pytest.mark.parametrize("zero_point", [-128, -3, 127])
def test_adding_nothing_gives_every_code_back(zero_point: int) -> None:
    """Whatever the scale: half of it is exact, and so are the ADD's multipliers."""
    codes = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)
    for scale in np.float32(np.geomspace(1e-6, 1e3, 500)):
        own = Quantization.per_tensor(float(scale), zero_point)
        tensors = {
            "p": Tensor("p", codes.shape, "int8", own),
            "q": Tensor("q", codes.shape, "int8", Quantization.per_tensor(own.scale0 / 2)),
            "y": Tensor("y", codes.shape, "int8", own),
        }
        add = Op("add", "add", ("p", "q"), ("y",), AddAttributes())
        graph = Graph("g", tensors, (add,), ("p", "q"), ("y",))
        result = evaluate(graph, {"p": codes, "q": np.zeros_like(codes)})["y"]
        np.testing.assert_array_equal(result, codes)


def test_low_rank_before_and_after() -> None:
    net = Network((1, 4, 4, 6), seed=3)
    graph = net.graph(net.flatten(net.conv("x", 5, (1, 1), (2, 2))))
    plan = Plan(name="p", update=(Update(layers="head", rank=2),))
    made = compile_model(graph, name="m", plan=plan, samples=net.inputs(2), labels=[0, 1])
    shown = format_graph(made.infer.graph).replace("dilation=(1, 1), ", "").splitlines()
    assert [line.strip() for line in sorted(shown[1:-2])] == [
        "conv2d_0/down:int8[1, 2, 2, 2] = conv2d(x:int8[1, 4, 4, 6], "
        "conv2d_0/down/weights:int8[2, 1, 1, 6]@parameters, ) "
        "{stride=(2, 2), padding=(0, 0, 0, 0), activation=none}",
        "conv2d_0/own:int8[1, 2, 2, 5] = conv2d(x:int8[1, 4, 4, 6], "
        "conv2d_0/kernel:int8[5, 1, 1, 6]@flash, conv2d_0/offset:int32[5]@flash) "
        "{stride=(2, 2), padding=(0, 0, 0, 0), activation=none}",
        "conv2d_0/up:int8[1, 2, 2, 5] = conv2d(conv2d_0/down:int8[1, 2, 2, 2], "
        "conv2d_0/up/weights:int8[5, 1, 1, 2]@parameters, ) "
        "{stride=(1, 1), padding=(0, 0, 0, 0), activation=none}",
        "conv2d_0:0:int8[1, 2, 2, 5] = add(conv2d_0/own:int8[1, 2, 2, 5], "
        "conv2d_0/up:int8[1, 2, 2, 5]) {activation=relu}",
    ]


def test_a_residual_module_has_the_resolution_that_the_plan_says() -> None:
    made, *_ = compiled((RESIDUAL,))
    graph = made.infer.graph
    shapes = {
        op.name: (op.kind, graph[op.outputs[0]].shape[1:])
        for op in graph.ops
        if op.name.startswith("conv2d_3/")
    }
    assert shapes == {  # from the 13 × 9 map in front of the block to its 7 × 5 map
        "conv2d_3/pool": ("average_pool2d", (4, 3, 6)),
        "conv2d_3/depthwise": ("depthwise_conv2d", (4, 3, 6)),
        "conv2d_3/up": ("conv2d", (4, 3, 8)),
        "conv2d_3/rows": ("gather", (7, 3, 8)),
        "conv2d_3/columns": ("gather", (7, 5, 8)),
        "conv2d_3/sum": ("add", (7, 5, 8)),
    }


@pytest.mark.parametrize("plan", PLANS)
def test_gradients_equal_tensorflows(plan: str) -> None:
    """With exponents that were calibrated when nothing had been learnt."""
    made, _, samples = compiled(PLANS[plan])
    assert made.train is not None
    check(awake(made.train.graph), samples[20:22])


@needs_gcc
@pytest.mark.parametrize("plan", ["both", "beside"])
def test_generated_c_trains_to_the_same_bits(plan: str, tmp_path: Path) -> None:
    made, _, samples = compiled(PLANS[plan])
    manifest = write(made, tmp_path)
    assert made.train is not None
    assert made.plan is not None
    trainer = ReferenceTrainer(made.train.graph, made.plan.optimizer)
    requests = [(sample, i % 4, False) for i, sample in enumerate(samples[:8])]
    for (sample, label, _), (answer, block, output) in zip(
        requests, train_generated(tmp_path, requests), strict=True
    ):
        step = trainer.step(sample, label)
        assert (answer.status, answer.prediction) == (0, step.prediction)
        assert np.float32(answer.loss) == np.float32(step.loss)
        for p in manifest.parameters:
            expected = made.train.graph[p.name].stored(trainer.parameters[p.name])
            assert block[p.offset : p.offset + p.bytes] == expected.tobytes()
        infer = made.infer.graph
        run = evaluate(infer, {"x": sample}, parameters=trainer.parameters)
        np.testing.assert_array_equal(output.reshape(-1), run[infer.outputs[0]].reshape(-1))


@pytest.mark.parametrize("plan", ["rank", "residual"])
def test_adapters_alone_learn_a_shifted_task(plan: str) -> None:
    """Samples of other classes than the network was made for; the network itself stays as it is."""
    made, *_ = compiled(PLANS[plan], rate=0.1)
    assert made.train is not None
    assert made.plan is not None
    layers = {tensor.name.split("/")[1] for tensor in made.block.tensors}
    assert layers <= {"down", "up", "depthwise"}
    trainer = ReferenceTrainer(made.train.graph, made.plan.optimizer)
    shape, random = (1, 13, 9, 3), np.random.default_rng(1)
    patterns = Network(shape, seed=73).inputs(4).astype(int)
    noisy = [patterns[i % 4] + random.normal(0, 12, shape) for i in range(48)]
    drawn = [np.clip(sample, -128, 127).astype(np.int8) for sample in noisy]
    before = dict(trainer.parameters)
    epochs = [[trainer.step(x, i % 4) for i, x in enumerate(drawn)] for _ in range(10)]
    first, last = (
        float(np.mean([step.loss for step in steps])) for steps in epochs[:: len(epochs) - 1]
    )
    assert last < 0.5 * first
    assert sum(step.prediction == i % 4 for i, step in enumerate(epochs[-1])) >= 26  # 12 by chance
    for name, value in trainer.parameters.items():
        assert not np.array_equal(value, before[name]), f"{name} never moves"


def test_memory_is_that_of_the_adapters() -> None:
    made, *_ = compiled((RANK, RESIDUAL))
    sizes = {t.name: t.bytes for t in made.block.tensors if not is_state(t.name)}
    pairs = {  # codes, filled up to pairs of channels and positions
        "conv2d_0/down": 2 * 28, "conv2d_0/up": 6 * 2,
        "conv2d_1/down": 2 * 6, "conv2d_1/up": 10 * 2,
        "conv2d_3/depthwise": 9 * 6, "conv2d_3/up": 8 * 6,
        "conv2d_4/down": 2 * 8, "conv2d_4/up": 8 * 2,
        "fully_connected_6/down": 2 * 8, "fully_connected_6/up": 4 * 2,
    }  # fmt: skip
    assert sizes == {f"{name}/weights": size for name, size in pairs.items()}


def test_the_plans_report_names_adapters(tmp_path: Path) -> None:
    made, graph, _ = compiled((RANK, RESIDUAL))
    report = plan_report(graph, made.plan, write(made, tmp_path))
    rows = {row["layer"]: row["weights"] for row in report.data["layers"]}  # type: ignore
    assert rows["conv2d_0/down"] == 2 * 27
    assert rows["conv2d_3/depthwise"] == 9 * 6
    assert rows["conv2d_0"] == 0


def test_channels_behind_a_residual_module_are_still_chosen_by_magnitude() -> None:
    made, graph, samples = compiled((RESIDUAL, Update(layers=(4,), weights=0.25)))
    layer = next(op for op in made.infer.graph.ops if op.name == "conv2d_4")
    weights = graph["conv2d_4/kernel"]
    scale = np.array(weights.quant.scale).reshape(-1, 1, 1, 1)
    order = np.argsort(-np.abs(weights.value * scale).sum(axis=(0, 1, 2)), kind="stable")
    assert sorted(order[:2]) != [0, 1]
    np.testing.assert_array_equal(
        made.infer.graph[layer.inputs[1]].value, weights.value[..., order[:2]]
    )
    output = evaluate(made.infer.graph, {"x": samples[0]})[made.infer.graph.outputs[0]]
    np.testing.assert_array_equal(output, evaluate(graph, {"x": samples[0]})[graph.outputs[0]])


def test_later_entries_replace_adapters() -> None:
    updates = (Update(layers="all", residual=Residual()), Update(layers="all", rank=0),
               Update(layers="head", bias=True))  # fmt: skip
    with pytest.raises(PlanError, match="fully_connected_6: a residual module"):
        compiled((updates[0],))
    made, *_ = compiled(updates)
    assert made.infer.graph.of_kind("add") == []
    made, *_ = compiled((Update(layers=(0,), residual=Residual()), Update(layers=(0,), rank=1)))
    assert [op.name for op in made.infer.graph.of_kind("average_pool2d")] == []


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"layers": [2], "rank": 1}, "depthwise_conv2d_2: a depthwise_conv2d cannot"),
        ({"layers": [3], "rank": 9}, "conv2d_3: rank 9 of 8 × 10 weights"),
        ({"layers": "head", "residual": {}}, "a residual module from"),
        ({"layers": [3], "residual": {"over": 5}}, "only 4 layers with weights in a row"),
    ],
)
def test_adapters_that_cannot_be(update: dict[str, object], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        compiled((Update.model_validate(update),))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"layers": "all", "rank": 2, "residual": {}}, "either rank or residual"),
        ({"layers": "all", "rank": -1}, "greater than or equal to 0"),
        ({"layers": "all", "residual": {"kernel": 2}}, "1, 3, 5 or 7"),
        ({"layers": "all", "residual": {"poll": 2}}, "did you mean pool"),
    ],
)
def test_mistakes_in_plans(entry: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan.parse({"update": [entry]}, "plan.toml")


@pytest.mark.parametrize("plan", PLANS)
def test_exponents_fit_what_flows_once_something_is_learnt(plan: str) -> None:
    """Gradients in front of weights that begin as zeros are 0 at first: their peak has to be found
    with others in their place."""
    made, _, samples = compiled(PLANS[plan])
    assert made.train is not None
    graph = awake(made.train.graph)
    peaks: dict[str, int] = {}
    for sample in samples[:12]:
        label = int(evaluate(graph, {"x": sample})[graph.outputs[0]].argmin())
        run = evaluate(graph, {"x": sample}, step=Step.towards(label))
        for op in graph.ops:
            if op.phase == "backward" and op.layer.endswith("/up") and "input_grad" in op.kind:
                peak = int(np.abs(run[op.outputs[0]].astype(int)).max())
                peaks[op.layer] = max(peaks.get(op.layer, 0), peak)
    assert peaks
    for layer, peak in peaks.items():
        assert 2**8 < peak < 2**13, layer
