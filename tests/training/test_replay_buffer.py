"""Samples that are kept: features, learning after the prediction, and replay against forgetting."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.host.test_host_training import block_of
from tests.support.architectures import Architecture, one_dimensional, residual
from tests.support.generated_training import train_generated
from tests.support.networks import Network
from tests.support.random_networks import Training as RandomTraining
from tests.support.random_networks import trainings
from tests.support.replay import replay as replay_plan
from tinykit.codegen import Compiled, compile_model, write
from tinykit.codegen.generate import graphs
from tinykit.errors import PlanError, UsageError
from tinykit.host import HostModel
from tinykit.ir import Array
from tinykit.ops.evaluate import evaluate
from tinykit.schedule.order import greedy_order, orders
from tinykit.training.plan import Optimizer, Plan, Replay, Training, Update
from tinykit.training.reference import ReferenceTrainer
from tinykit.training.replay import ReplayTrainer, Reservoir

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def plan(keep: Any, samples: int = 0, per_step: int = 1, **options: Any) -> Plan:
    return Plan(
        optimizer=Optimizer(learning_rate=0.02, **options),
        training=Training(keep=keep),
        replay=Replay(samples=samples, per_step=per_step),
        update=(Update(layers="last 3", bias=True, weights=0.6),),
    )


def compiled(architecture: Architecture, chosen: Plan) -> tuple[Compiled, Array]:
    net, output = architecture()
    samples = net.inputs(40)
    return compile_model(
        net.graph(output), name="model", plan=chosen, samples=samples[:4], labels=[0, 1, 2, 0]
    ), samples


def kept_of(made: Compiled, sample: Array) -> bytes:
    """What NumPy keeps of a sample: the tensors, each on whole words."""
    graph = made.infer.graph
    run = evaluate(graph, {graph.inputs[0]: sample})
    (op,) = graph.of_kind("keep")
    parts = [np.ascontiguousarray(run[name]).tobytes() for name in op.inputs]
    return b"".join(part + bytes(-len(part) % 4) for part in parts)


def block_bytes(made: Compiled, trainer: ReplayTrainer, groups: int, last: Array) -> bytes:
    """The whole block as NumPy's buffer has it, for a model whose targets are classes."""
    past, size = trainer.past, len(kept_of(made, last))
    used = len(past.samples)
    seen = [past.seen[g] | (g in past.full) << 31 for g in range(groups)]
    labels = [int(label) for _, label in past.samples if isinstance(label, int)]
    words = np.array([1, used, *seen, *labels, *[0] * (past.capacity - used)], np.uint32)
    samples = b"".join(kept_of(made, sample) for sample, _ in past.samples)
    samples += bytes(size * (past.capacity - used))
    return words.tobytes() + samples + kept_of(made, last)


def poison(host: HostModel, random: np.random.Generator) -> None:
    """Noise all over the arena."""
    import ctypes

    entry = host._function("input")
    start = ctypes.cast(entry(), ctypes.c_void_p).value
    assert start is not None
    noise = random.integers(0, 256, host.manifest.memory.sram["arena"]).astype(np.uint8)
    ctypes.memmove(start - host.manifest.input_offset, noise.ctypes.data, noise.size)


# --- replay ---------------------------------------------------------------------------------------


@needs_gcc
@pytest.mark.parametrize(
    ("architecture", "keep", "per_step", "options"),
    [
        (residual, "features", 2, {}),
        (residual, "input", 2, {}),
        (one_dimensional, "features", 1, {"accumulate": 3, "momentum": 0.9, "master": "int8"}),
        (one_dimensional, "input", 1, {"method": "adam", "skip_below": 0.3, "seed": 7}),
    ],
)
def test_replay_equals_numpy(
    architecture: Architecture, keep: str, per_step: int, options: dict[str, Any], tmp_path: Path
) -> None:
    """300 new samples of very uneven classes, and what the buffer holds, bit for bit."""
    made, samples = compiled(architecture, plan(keep, 7, per_step, **options))
    assert made.plan is not None
    assert made.train is not None
    manifest = write(made, tmp_path)
    assert manifest.keeps is not None
    classes = manifest.classes or 0
    host = HostModel(tmp_path)
    trainer = ReplayTrainer(
        ReferenceTrainer(made.train.graph, made.plan.optimizer), made.plan.replay
    )
    random = np.random.default_rng(3)
    for i in range(300):
        sample = samples[random.integers(len(samples))]
        label = int(min(random.geometric(0.6), classes) - 1)
        step, answer = trainer.step(sample, label), host.train(sample, label)
        assert (answer.status, answer.prediction) == (0, step.prediction)
        assert np.float32(answer.loss) == np.float32(step.loss)
        assert (answer.step, answer.updated) == (trainer.trainer.steps, step.updated)
        assert answer.skipped == trainer.trainer.skipped
        if i % 20 == 0 or i > 295:
            expected = block_of(made.train.graph, manifest, trainer.trainer.parameters)
            assert host.parameters() == expected, i
            assert host.replay == block_bytes(made, trainer, classes, sample), i
    assert trainer.trainer.steps == 300 * (1 + per_step) - per_step  # the first has no past


@needs_gcc
def test_replay_is_clean_under_sanitizers(tmp_path: Path) -> None:
    """More samples than the buffer holds, from an arena full of poison each time."""
    made, samples = compiled(one_dimensional, plan("features", 3, 2))
    assert made.plan is not None
    assert made.train is not None
    manifest = write(made, tmp_path)
    requests = [(samples[i % 40], i % 3 if i % 2 else 0, False) for i in range(24)]
    trainer = ReplayTrainer(
        ReferenceTrainer(made.train.graph, made.plan.optimizer), made.plan.replay
    )
    for (sample, label, _), (answer, block, _) in zip(
        requests, train_generated(tmp_path, requests), strict=True
    ):
        step = trainer.step(sample, label)
        assert (answer.prediction, answer.updated) == (step.prediction, step.updated)
        assert block == block_of(made.train.graph, manifest, trainer.trainer.parameters)


def test_the_reservoir_is_balanced_and_uniform() -> None:
    """Of 400 samples, nine tenths of one class: as many of each class are kept, and those
    of a class are as likely from its beginning as from its end."""
    places: list[int] = []
    for seed in range(40):
        past = Reservoir(12, seed)
        for i in range(400):
            past.insert(i, np.array([i]), 0 if i % 10 else i // 10 % 3)
        counts = Counter(label for _, label in past.samples)
        assert all(3 <= counts[label] <= 5 for label in range(3)), counts
        places += [int(sample[0]) for sample, label in past.samples if label == 0]
    assert 160 < np.mean(places) < 240
    quarters = Counter(place // 100 for place in places)
    assert len(quarters) == 4
    assert min(quarters.values()) > 0.15 * len(places)


@needs_gcc
@pytest.mark.parametrize("target", ["values", "input"])
def test_targets_without_classes_are_replayed(target: str, tmp_path: Path) -> None:
    """A vector lies behind its sample; an autoencoder's input is kept with the features."""
    net = Network((1, 5, 4, 2), seed=11)
    x = net.dense(net.flatten(net.conv("x", 4)), 40, "none")
    graph = net.graph(net.reshape(x, (1, 5, 4, 2)))
    chosen = Plan(
        optimizer=Optimizer(learning_rate=0.01),
        training=Training(
            loss="mean_squared_error",
            target="input" if target == "input" else "given",
            keep="features",
        ),
        replay=Replay(samples=5, per_step=2),
        update=(Update(layers="head", bias=True, weights=1.0),),
    )
    samples = net.inputs(20)
    random = np.random.default_rng(0)
    targets = [
        None if target == "input" else random.integers(-128, 128, 40).astype(np.int8)
        for _ in samples
    ]
    made = compile_model(graph, name="model", plan=chosen, samples=samples, labels=targets)
    assert made.train is not None
    manifest = write(made, tmp_path)
    assert manifest.keeps is not None
    assert manifest.keeps.bytes == 5 * 4 * 4 + (40 if target == "input" else 0)
    host, trainer = (
        HostModel(tmp_path),
        ReplayTrainer(ReferenceTrainer(made.train.graph, chosen.optimizer), chosen.replay),
    )
    for i in range(60):
        step = trainer.step(samples[i % 20], targets[i % 20])
        answer = host.train(samples[i % 20], targets[i % 20])
        assert np.float32(answer.loss) == np.float32(step.loss)
        assert answer.updated == step.updated
    assert host.parameters() == block_of(made.train.graph, manifest, trainer.trainer.parameters)


# --- features, and learning after the prediction --------------------------------------------------


@needs_gcc
@pytest.mark.parametrize("keep", ["features", "input"])
def test_kept_samples_train_like_raw_ones(keep: str, tmp_path: Path) -> None:
    """train(sample), train_features(kept), infer and learn: the same parameters every time,
    whatever the arena holds; and inference is the same as without keeping."""
    made, samples = compiled(residual, plan(keep))
    write(made, tmp_path / "keeps")
    plain, _ = compiled(residual, plan("nothing"))
    write(plain, tmp_path / "plain")
    raw, kept, later = (HostModel(tmp_path / "keeps") for _ in range(3))
    reference = HostModel(tmp_path / "plain")
    features = []
    for sample in samples[:10]:
        np.testing.assert_array_equal(raw.infer(sample), reference.infer(sample))
        found = raw.features()
        assert found is not None
        assert found.tobytes() == kept_of(made, sample)
        features.append(found)
    random = np.random.default_rng(1)
    for i in range(30):
        answer = reference.train(samples[i % 10], i % 3)
        assert raw.train(samples[i % 10], i % 3) == answer
        poison(kept, random)
        assert kept.train_features(features[i % 10], i % 3) == answer
        later.infer(samples[i % 10])
        poison(later, random)
        assert later.learn(i % 3) == answer
    assert raw.parameters() == kept.parameters() == later.parameters() == reference.parameters()


@needs_gcc
def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    made, samples = compiled(one_dimensional, plan("features", 2))
    write(made, tmp_path)
    host = HostModel(tmp_path)

    def gone() -> None:
        before = host.parameters(), host.save()
        assert host.features() is None
        assert host.learn(0).status == 6  # TK_ERROR_SAMPLE
        assert (host.parameters(), host.save()) == before

    gone()
    host.infer(samples[0])
    assert host.learn(0).status == 0
    assert host.learn(-1).status == 1  # a wrong label leaves the sample where it is
    assert host.learn(1).status == 0
    host.load(host.save())
    gone()
    host.train(samples[0], 0)
    host.reset()
    gone()
    with pytest.raises(UsageError, match=r"features of model are \d+ int8, got int8\[3\]"):
        host.train_features(np.zeros(3, np.int8), 0)


@needs_gcc
def test_the_buffer_survives_beside_the_save(tmp_path: Path) -> None:
    """Saved parameters have their old form; with the buffer copied too, training goes on as if
    nothing had been; and a buffer full of noise does no harm."""
    made, samples = compiled(one_dimensional, plan("features", 4, 2))
    write(made, tmp_path)
    host, other = HostModel(tmp_path), HostModel(tmp_path)
    for i in range(12):
        host.train(samples[i], i % 3)
    saved, buffer = host.save(), host.replay
    other.load(saved)
    assert not any(other.replay)
    other.replay = buffer
    for i in range(12, 20):
        assert host.train(samples[i], i % 3) == other.train(samples[i], i % 3)
    assert host.parameters() == other.parameters()
    assert host.replay == other.replay
    random = np.random.default_rng(0)
    for i in range(20):
        host.replay = random.integers(0, 256, len(buffer)).astype(np.uint8).tobytes()
        assert host.train(samples[i], i % 3).status == 0
    with pytest.raises(UsageError, match=r"model keeps \d+ bytes, got 1"):
        host.replay = b"x"


def test_a_model_that_keeps_nothing_says_so(tmp_path: Path) -> None:
    made, _ = compiled(one_dimensional, plan("nothing"))
    assert write(made, tmp_path).keeps is None
    text = (tmp_path / "model.c").read_text() + (tmp_path / "model.h").read_text()
    assert "features" not in text
    assert "replay" not in text
    if shutil.which("gcc"):
        with pytest.raises(UsageError, match="model keeps no samples"):
            HostModel(tmp_path).learn(0)


# --- plans ----------------------------------------------------------------------------------------


@settings(
    deadline=None,
    derandomize=True,
    max_examples=15,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(training=trainings(), last=st.integers(1, 3), keep=st.sampled_from(["features", "input"]))
def test_memory_plans_hold_what_is_kept(training: RandomTraining, last: int, keep: Any) -> None:
    """At the KEEP all its tensors are whole, and what is behind it reads nothing else of before."""
    chosen = training.plan.model_copy(
        update={
            "training": Training(keep=keep),
            "update": (Update(layers=f"last {last}", bias=True, weights=1.0),),
        }
    )
    try:
        made = compile_model(
            training.source, name="n", plan=chosen, samples=training.samples[:2], labels=[0, 1]
        )
    except PlanError:  # a layer that cannot learn
        return
    assert made.train is not None
    for program in (made.infer, made.train):
        replay_plan(program)
        ops = program.graph.ops
        (at,) = (i for i, op in enumerate(ops) if op.kind == "keep")
        there = {op.outputs[0]: op.inputs[0] for op in ops[:at] if op.kind == "reshape"}
        known = set(ops[at].inputs)
        known |= {view for view, of in there.items() if _root(of, there) in known}
        for op in ops[at + 1 :]:
            arena = {n for n in op.reads if program.graph[n].storage == "arena"}
            assert arena <= known, f"{op.name} reads {arena - known}"
            known.update(op.outputs)
        parameters = {n for n, t in program.graph.tensors.items() if t.storage == "parameters"}
        assert parameters.isdisjoint(name for op in ops[:at] for name in op.reads)


def test_no_op_moves_across_the_keep() -> None:
    """A learning branch beside a frozen one: it would be cheaper first, but stays behind."""
    net = Network((1, 8, 8, 4), seed=1)
    frozen = net.dense(net.flatten(net.conv("x", 8)), 6, "none")
    learns = net.conv("x", 2)
    graph = net.graph(net.add(frozen, net.dense(net.flatten(learns), 6, "none")))
    layer = next(op.name for op in graph.ops if learns in op.outputs)
    chosen = plan("features").model_copy(update={"update": (Update(layers=(layer,), weights=1.0),)})
    for divided in graphs(graph, chosen):
        assert divided is not None
        (keep,) = divided.of_kind("keep")
        before = divided.ops[: divided.ops.index(keep)]
        assert len(before) == 3
        assert keep.inputs == ("x", frozen)
        for ordered in (greedy_order(divided), *orders(divided)):
            assert {op.name for op in ordered.ops[:3]} == {op.name for op in before}
            assert ordered.ops[3] == keep


def _root(name: str, views: dict[str, str]) -> str:
    while name in views:
        name = views[name]
    return name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"training": {"keep": "nothing"}, "replay": {"samples": 4}}, "needs .training. keep"),
        ({"replay": {"samples": -1}}, "replay.samples"),
        ({"replay": {"per_step": 0}}, "replay.per_step"),
        ({"replay": {"sample": 4}}, "did you mean samples"),
        ({"training": {"keep": "everything"}}, "training.keep"),
    ],
)
def test_bad_keys_are_named(text: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan.parse({"update": [{"layers": "head", "bias": True}], **text}, "plan.toml")


def test_a_replay_keeps_features_unless_told_otherwise() -> None:
    update = [{"layers": "head", "bias": True}]
    assert Plan.parse({"update": update}, "p").keep == "nothing"
    assert Plan.parse({"update": update, "replay": {"samples": 1}}, "p").keep == "features"
    both = {"update": update, "replay": {"samples": 1}, "training": {"keep": "input"}}
    assert Plan.parse(both, "p").keep == "input"
