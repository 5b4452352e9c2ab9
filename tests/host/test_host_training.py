"""Generated training code on this machine: equal to NumPy, and careful with what it is given."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.architectures import (
    Architecture,
    depthwise_multipliers,
    one_dimensional,
    residual,
)
from tests.support.generated_training import train_generated
from tests.support.traces import trace_points
from tinykit.codegen import Compiled, Manifest, compile_model, write
from tinykit.errors import LinkError, UsageError
from tinykit.host import HostModel
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import Step, evaluate
from tinykit.ops.update import is_state
from tinykit.training.plan import Optimizer, Plan, Update
from tinykit.training.reference import ReferenceTrainer

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")

PLAN = Plan(
    optimizer=Optimizer(learning_rate=0.05, warmup_steps=2, schedule="linear", total_steps=50),
    update=(Update(layers="all", bias=True, weights=0.6),),
)


def compiled(architecture: Architecture, plan: Plan = PLAN) -> tuple[Compiled, Array]:
    net, output = architecture()
    samples = net.inputs(8)
    graph = net.graph(output)
    return compile_model(
        graph, name="model", plan=plan, samples=samples[:4], labels=[0, 1, 2, 0]
    ), samples


@pytest.fixture(scope="module")
def trained_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Compiled, Array]:
    folder = tmp_path_factory.mktemp("generated")
    made, samples = compiled(residual)
    write(made, folder)
    return folder, made, samples


def block_of(graph: Graph, manifest: Manifest, parameters: dict[str, Array]) -> bytes:
    """The block that NumPy's parameters would make."""
    block = bytearray(manifest.parameter_bytes)
    for p in manifest.parameters:
        value = graph[p.name].stored(parameters[p.name])
        assert value.dtype == np.dtype(p.dtype)
        block[p.offset : p.offset + p.bytes] = value.tobytes()
    return bytes(block)


@pytest.mark.parametrize(
    ("architecture", "accumulate"),
    [(residual, 1), (depthwise_multipliers, 3), (one_dimensional, 1)],
)
def test_training_equals_numpy(architecture: Architecture, accumulate: int, tmp_path: Path) -> None:
    """In the planned arena, under sanitizers, from an arena full of poison each time."""
    optimizer = PLAN.optimizer.model_copy(update={"accumulate": accumulate})
    made, samples = compiled(architecture, PLAN.model_copy(update={"optimizer": optimizer}))
    manifest = write(made, tmp_path)
    assert made.train is not None
    requests = [(samples[i % 8], i % 3, i == 3) for i in range(6)]
    answers = train_generated(tmp_path, requests)
    reference = ReferenceTrainer(made.train.graph, optimizer)
    for (sample, label, apply), (answer, block, output) in zip(requests, answers, strict=True):
        step = reference.step(sample, label)
        if apply:
            reference.apply()
        assert answer.status == 0
        assert (answer.prediction, answer.step) == (step.prediction, reference.steps)
        assert np.float32(answer.loss) == np.float32(step.loss)
        assert answer.saturations == reference.saturations
        assert (answer.skipped, answer.updated) == (reference.skipped, step.updated)
        assert block == block_of(made.train.graph, manifest, reference.parameters)
        infer = made.infer.graph
        trained = {n: v for n, v in reference.parameters.items() if n in infer.tensors}
        run = evaluate(infer, {infer.inputs[0]: sample}, parameters=trained)
        np.testing.assert_array_equal(output, run[infer.outputs[0]])


OPTIONS: dict[str, dict[str, Any]] = {
    "momentum": {"momentum": 0.9, "weight_decay": 0.01},
    "int32, accumulated": {"master": "int32", "momentum": 0.9, "accumulate": 3},
    "clipped": {"clip_norm": 0.1, "momentum": 0.5},
    "adam": {"method": "adam", "learning_rate": 0.003, "weight_decay": 0.01, "skip_below": 0.7},
    "skipping": {"skip_below": 0.7},
    "guarded": {"guard_loss": 8.0, "master": "int8"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_optimizers_equal_numpy_and_go_on_after_load(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """N steps, save, load into a fresh instance, N more: the same as 2 N steps, and as NumPy."""
    optimizer = PLAN.optimizer.model_copy(update=options)
    made, samples = compiled(residual, PLAN.model_copy(update={"optimizer": optimizer}))
    manifest = write(made, tmp_path)
    assert made.train is not None
    reference = ReferenceTrainer(made.train.graph, optimizer)
    first, straight = HostModel(tmp_path), HostModel(tmp_path)
    answers = []
    for i in range(20):
        if i == 10:
            saved = first.save()
            first = HostModel(tmp_path)
            first.load(saved)
            assert first.save() == saved
        sample = samples[i % 8]  # every other time with a label that is certain, to be skipped
        label = i % 3 if i % 2 else int(first.infer(sample).argmax())
        step = reference.step(sample, label)
        answer = first.train(sample, label)
        assert answer == straight.train(sample, label)
        assert (answer.skipped, answer.updated) == (reference.skipped, step.updated)
        assert answer.saturations == reference.saturations
        answers.append(answer)
    expected = block_of(made.train.graph, manifest, reference.parameters)
    assert first.parameters() == straight.parameters() == expected
    trained = sum(reference.parameters[n].size for n in reference.parameters if not is_state(n))
    assert 0 < max(answer.updated for answer in answers) <= trained
    if "skip_below" in options or "guard_loss" in options:
        assert 0 < answers[-1].skipped < 20


def test_trace_names_every_op(trained_model: tuple[Path, Compiled, Array]) -> None:
    """The running CRC after each op equals that of NumPy's outputs, in training and inference."""
    folder, made, samples = trained_model
    host = HostModel(folder)
    assert made.train is not None
    for program, train in ((made.infer, False), (made.train, True)):
        graph = program.graph
        step = Step(label=1, learning_rate=float(np.float32(0.05 / 2)))
        run = evaluate(graph, {graph.inputs[0]: samples[0]}, step=step)
        points = list(trace_points(program))
        for index, op in enumerate(graph.ops):
            crc = 0
            for maker, name, row in points:
                if maker <= index:
                    value = graph[name].stored(run[name]) if row is None else run[name][:, row]
                    crc = zlib.crc32(np.ascontiguousarray(value).tobytes(), crc)
            host.reset()
            actual = (
                host.train_crc(samples[0], 1, index) if train else host.infer_crc(samples[0], index)
            )
            assert actual == crc, op.name


def test_instances_have_memory_of_their_own(trained_model: tuple[Path, Compiled, Array]) -> None:
    folder, _, samples = trained_model
    first, second = HostModel(folder), HostModel(folder)
    initial = second.parameters()
    first.train(samples[0], 1)
    assert first.parameters() != initial
    assert second.parameters() == initial
    first.reset()
    assert first.parameters() == initial
    assert first.train(samples[0], 1).step == 1


def test_a_kept_runtime_gives_the_same_bits(
    trained_model: tuple[Path, Compiled, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other flags, the runtime compiled once for two models."""
    folder, _, samples = trained_model
    usual = HostModel(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(folder, tmp_path / "copy")
    fast = ("-O3", "-march=native")
    hosts = [
        usual,
        HostModel(folder, flags=fast),
        HostModel(tmp_path / "copy", flags=fast),
    ]
    steps = [[host.train(x, i % 5) for i, x in enumerate(samples)] for host in hosts]
    assert steps[0] == steps[1] == steps[2]
    assert len({host.parameters() for host in hosts}) == 1
    assert len(list((tmp_path / "cache" / "tinykit" / "host").iterdir())) == 1


@pytest.mark.parametrize("label", [-1, -(2**31), 6, 2**31 - 1])
def test_label_out_of_range_changes_nothing(
    label: int, trained_model: tuple[Path, Compiled, Array]
) -> None:
    folder, _, samples = trained_model
    host, undisturbed = HostModel(folder), HostModel(folder)
    for model in (host, undisturbed):
        model.train(samples[0], 1)
    before = host.parameters(), host.save()
    answer = host.train(samples[1], label)
    assert answer.status == 1
    assert answer.step == 1
    assert (host.parameters(), host.save()) == before
    assert host.train(samples[2], 5) == undisturbed.train(samples[2], 5)
    assert host.parameters() == undisturbed.parameters()


def test_saved_parameters_go_on_where_they_were(
    trained_model: tuple[Path, Compiled, Array],
) -> None:
    """Steps, running accumulation and residuals survive: the next steps are the same."""
    folder, _, samples = trained_model
    plan = PLAN.model_copy(
        update={"optimizer": PLAN.optimizer.model_copy(update={"accumulate": 3})}
    )
    made, _ = compiled(residual, plan)
    accumulating = folder / "accumulating"
    write(made, accumulating)
    for generated in (folder, accumulating):
        host, copy = HostModel(generated), HostModel(generated)
        for i in range(4):
            host.train(samples[i], i % 3)
        saved = host.save()
        assert len(saved) == host.manifest.save_bytes
        copy.load(saved)
        assert copy.parameters() == host.parameters()
        assert copy.save() == saved
        for i in range(3):
            assert copy.train(samples[i], 2) == host.train(samples[i], 2)
        assert copy.parameters() == host.parameters()


@settings(deadline=None, derandomize=True, max_examples=150)
@given(data=st.data())
def test_damaged_save_is_refused_and_changes_nothing(
    trained_model: tuple[Path, Compiled, Array], loaded: list[Any], data: st.DataObject
) -> None:
    if not loaded:
        host = HostModel(trained_model[0])
        host.train(trained_model[2][0], 1)
        loaded.extend([host, host.save()])
    host, saved = loaded
    before = host.parameters()
    damaged = bytearray(saved)
    kind = data.draw(st.sampled_from(["bit", "cut", "longer", "noise"]))
    if kind == "bit":
        damaged[data.draw(st.integers(0, len(saved) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        damaged = damaged[: data.draw(st.integers(0, len(saved) - 1))]
    elif kind == "longer":
        damaged += data.draw(st.binary(min_size=1, max_size=64))
    else:
        damaged = bytearray(data.draw(st.binary(min_size=0, max_size=200)))
    with pytest.raises(LinkError, match="refused"):
        host.load(bytes(damaged))
    assert host.parameters() == before


@pytest.fixture(scope="module")
def loaded() -> list[Any]:
    return []


def test_what_another_model_saved_is_refused(
    trained_model: tuple[Path, Compiled, Array], tmp_path: Path
) -> None:
    made, samples = compiled(one_dimensional)
    write(made, tmp_path)
    other = HostModel(tmp_path)
    other.train(samples[0], 0)
    host = HostModel(trained_model[0])
    before = host.parameters()
    with pytest.raises(LinkError, match="status 3"):  # TK_ERROR_MODEL
        host.load(other.save())
    assert host.parameters() == before


def test_sample_of_another_shape_is_refused(trained_model: tuple[Path, Compiled, Array]) -> None:
    host = HostModel(trained_model[0])
    with pytest.raises(UsageError, match="a sample of model is int8"):
        host.train(np.zeros((1, 3), np.int8), 0)


def test_identity_tells_models_apart(tmp_path: Path) -> None:
    made, _ = compiled(depthwise_multipliers)
    first = write(made, tmp_path / "a").identity
    assert write(made, tmp_path / "b").identity == first
    other, _ = compiled(depthwise_multipliers, PLAN.model_copy(
        update={"optimizer": Optimizer(learning_rate=0.06)}))  # fmt: skip
    assert write(other, tmp_path / "c").identity != first
