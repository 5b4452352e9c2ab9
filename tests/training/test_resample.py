"""Other channels in the same bytes: random choices, and going on from what was learnt."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.support.networks import Network
from tinykit.cli.app import run
from tinykit.codegen.manifest import Manifest
from tinykit.data import Coding
from tinykit.errors import PlanError, UsageError
from tinykit.host import HostModel
from tinykit.ir import Array
from tinykit.ops.evaluate import evaluate
from tinykit.project import Project
from tinykit.training.channel_order import in_fixed_order, order_channels
from tinykit.training.plan import Plan, Update

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
LAYERS = (4, 6, 8)  # 1x1 convolutions of the keyword spotter, each behind a depthwise layer
PLAN = f"""
[optimizer]
learning_rate = 0.02

[training]
loss = "softmax_cross_entropy"

[[update]]
layers = {list(LAYERS)}
bias = true
weights = 0.25

[[update]]
layers = "head"
bias = true
weights = 1.0
"""
PROJECT = """
[model]
path = "{model}"
learnt = {learnt}
[data]
train = "a.npz"
[plan]
path = "{plan}"
[build]
trace = false
directory = "{build}"
"""


def opened(folder: Path, shared: Path, plan: str, *stages: tuple[str, str]) -> Project:
    model = shared / "models" / "mlperf_tiny" / "kws_ref_model.tflite"
    learnt = ", ".join(f'{{plan = "{p}", saved = "{saved}"}}' for p, saved in stages)
    text = PROJECT.format(model=model, plan=plan, learnt=f"[{learnt}]", build=f"build-{plan}")
    (folder / "tinykit.toml").write_text(text)
    return Project.open(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).integers(-128, 128, (12, 490)).astype(np.int8)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(12))
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def trained(project: Project, saved: Path) -> tuple[Manifest, HostModel, Array]:
    """Generated C of the project after 6 steps, what it saves in `saved`, and samples."""
    manifest = project.generate()
    host = HostModel(project.generated_dir)
    samples = project.samples("train").quantized([Coding((1, 490), "int8", 1.0, 0)])
    assert sum(host.train(samples[i], i).updated for i in range(6)) > 0
    saved.write_bytes(host.save())
    return manifest, host, samples


def test_random_channels_are_other_ones_for_other_seeds() -> None:
    net = Network((1, 6, 6, 3), seed=81)
    x = net.conv(net.conv("x", 16), 16, (1, 1))
    graph = net.graph(net.dense(net.mean(x), 3))
    kernel = graph["conv2d_1/kernel"].value
    chosen = []
    for seed in (1, 1, 2, 3):
        update = Update(layers=(1,), weights=0.25, select="random", seed=seed)
        ordered = order_channels(graph, Plan(update=(update,)).resolve(graph))
        (layer,) = (op for op in ordered.ops if op.name == "conv2d_1")
        first = ordered[layer.inputs[1]].value[..., :4].reshape(16, 4)
        columns = kernel.reshape(16, 16).T.tolist()
        chosen.append({columns.index(column) for column in first.T.tolist()})
        sample = net.inputs(1)[0]
        outputs = [evaluate(g, {"x": sample})[g.outputs[0]] for g in (graph, ordered)]
        np.testing.assert_array_equal(*outputs)
    assert chosen[0] == chosen[1]
    assert len({tuple(sorted(c)) for c in chosen}) == 3
    half = Plan(update=(Update(layers="all", weights=0.5, select="random"),))
    assert in_fixed_order(graph, half.resolve(graph)) == ["conv2d_0"]  # reads the model's input


@needs_gcc
def test_going_on_with_other_channels(
    folder: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice over: what was learnt becomes the model, bit for bit; memory stays the same."""
    first = opened(folder, shared, "plan.toml")
    before, host, samples = trained(first, folder / "1.bin")
    outputs = [host.infer(sample) for sample in samples]

    other = folder / "other.toml"
    command = ["plan", "--project", str(folder), "--resample", "7", "--write", str(other), "--json"]
    assert run(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["fixed_channels"] == []
    assert (report["sram"], report["flash"]) == (before.memory.sram, before.memory.flash)
    written = Plan.parse(tomllib.loads(other.read_text()), "other.toml")
    assert (
        written.resolve(first.graph()).keys() == first.required_plan().resolve(first.graph()).keys()
    )
    assert written.training == first.required_plan().training

    second = opened(folder, shared, "other.toml", ("plan.toml", "1.bin"))
    graph = second.graph()
    assert all(tensor.storage != "parameters" for tensor in graph.tensors.values())
    for sample, output in zip(samples, outputs, strict=True):
        result = evaluate(graph, {graph.inputs[0]: sample})[graph.outputs[0]]
        np.testing.assert_array_equal(result.reshape(-1), output.reshape(-1))
    after, host, _ = trained(second, folder / "2.bin")
    assert after.memory.sram == before.memory.sram
    assert after.save_bytes == before.save_bytes
    outputs = [host.infer(sample) for sample in samples]

    third = opened(folder, shared, "plan.toml", ("plan.toml", "1.bin"), ("other.toml", "2.bin"))
    graph = third.graph()
    for sample, output in zip(samples, outputs, strict=True):
        result = evaluate(graph, {graph.inputs[0]: sample})[graph.outputs[0]]
        np.testing.assert_array_equal(result.reshape(-1), output.reshape(-1))

    with pytest.raises(UsageError, match="saved by other firmware"):
        opened(folder, shared, "plan.toml", ("other.toml", "1.bin")).graph()
    whole = (folder / "1.bin").read_bytes()
    for number, broken in enumerate((whole[:40], whole[:-1], whole[:60] + b"x" + whole[61:], b"")):
        (folder / f"broken{number}.bin").write_bytes(broken)
        with pytest.raises(UsageError, match=r"is nothing that firmware saved|is damaged"):
            opened(folder, shared, "plan.toml", ("plan.toml", f"broken{number}.bin")).graph()
    with pytest.raises(UsageError, match="cannot be read"):
        opened(folder, shared, "plan.toml", ("plan.toml", "nowhere.bin")).graph()


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (Update(layers="head", weights=1.0), "trains no part"),
        (Update(layers="all", rank=2), "trains no part"),
        (Update(layers="head", channels=(1, 2)), "are numbered"),
    ],
)
def test_plans_that_cannot_be_resampled(update: Update, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Plan(update=(update,)).resampled(1)


def test_mistakes_in_stages(folder: Path, shared: Path) -> None:
    opened(folder, shared, "plan.toml")
    text = (folder / "tinykit.toml").read_text()
    (folder / "tinykit.toml").write_text(text.replace("learnt = []", 'learnt = [{plam = "a"}]'))
    with pytest.raises(UsageError, match="learnt"):
        Project.open(folder)
