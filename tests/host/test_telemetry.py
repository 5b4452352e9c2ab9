"""What a step says of itself: which tensors it changed, by how much, and what it saturated."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.architectures import residual
from tinykit.codegen import Compiled, compile_model, write
from tinykit.codegen.manifest import Manifest, Parameter
from tinykit.host import HostModel
from tinykit.ir import Array, Graph
from tinykit.training.plan import Optimizer, Plan, Update

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")

UPDATES = (
    Update(layers="last 4", bias=True, weights=0.5),
    Update(layers="head", bias=True, weights=1.0),
)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "int8": {"master": "int8"},
    "int32, accumulated": {"master": "int32", "momentum": 0.9, "accumulate": 3},
    "clipped, decaying": {"clip_norm": 0.5, "momentum": 0.5, "weight_decay": 0.01},
    "adam": {"method": "adam", "learning_rate": 0.003},
    "skipping": {"skip_below": 0.7},
}


def halved(graph: Graph) -> Graph:
    """Weights of half the size, which do not come to their limit: there changes have no effect."""
    tensors = {
        name: replace(t, data=t.data // 2) if t.dtype == "int8" and t.data is not None else t
        for name, t in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)


def compiled(options: dict[str, Any]) -> tuple[Compiled, Array]:
    net, output = residual()
    samples = net.inputs(8)
    optimizer = Optimizer(learning_rate=0.02).model_copy(update=options)
    return compile_model(
        halved(net.graph(output)),
        name="model",
        plan=Plan(optimizer=optimizer, update=UPDATES),
        samples=samples[:4],
        labels=[0, 1, 2, 0],
    ), samples


def masters(manifest: Manifest, block: bytes) -> dict[str, Array]:
    """used * units + residual of every trained tensor, from the bytes of the block."""

    def plane(p: Parameter) -> Array:
        return np.frombuffer(block, p.dtype, p.bytes // np.dtype(p.dtype).itemsize, p.offset)

    planes = {p.name: plane(p).astype(np.int64) for p in manifest.parameters}
    return {
        p.name: planes[p.name] * manifest.units(p) + planes.get(f"{p.name}/residual", 0)
        for p in manifest.trained
    }


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_changes_are_those_of_the_parameters(options: dict[str, Any], tmp_path: Path) -> None:
    """Counts and sums of |change| equal those of the masters before and after each step."""
    made, samples = compiled(options)
    manifest = write(made, tmp_path)
    host = HostModel(tmp_path)
    before, saturations = masters(manifest, host.parameters()), 0
    ever: set[str] = set()
    for i in range(24):
        sample = samples[i % 8]  # every other time with a label that is certain, to be skipped
        label = i % 3 if i % 2 else int(host.infer(sample).argmax())
        step = host.train(sample, label)
        after = masters(manifest, host.parameters())
        changes = host.changes()
        for p, change in zip(manifest.trained, changes, strict=True):
            moved = np.abs(after[p.name] - before[p.name])
            assert (change.updated, change.moved) == (np.count_nonzero(moved), moved.sum()), p.name
            used = np.frombuffer(host.parameters(), p.dtype, -1, p.offset)
            used = used[: p.bytes // used.itemsize]
            assert change.magnitude == np.abs(used.astype(np.int64)).sum()
            assert change.updated <= p.size
            ever |= {p.name} if change.updated else set()
        assert sum(change.updated for change in changes) == step.updated
        assert step.saturated == step.saturations - saturations
        before, saturations = after, step.saturations
    assert ever == {p.name for p in manifest.trained}
    if "skip_below" in options:
        assert 0 < step.skipped < 24
    host.reset()
    assert not any(change.updated or change.moved for change in host.changes())


def test_what_changed_is_what_the_plan_says(tmp_path: Path) -> None:
    """Tensors and sizes come from the plan and the layers' shapes alone, not from what was made."""
    made, samples = compiled({})
    manifest = write(made, tmp_path)
    graph = made.infer.graph
    layers = [
        op for op in graph.ops if op.kind in ("conv2d", "depthwise_conv2d", "fully_connected")
    ]
    learning = layers[-4:]
    names = {p.name.rsplit("/", 1)[0] for p in manifest.trained}
    assert names == {op.name for op in learning}
    host = HostModel(tmp_path)
    most = dict.fromkeys((p.name for p in manifest.trained), 0)
    for i in range(12):
        host.train(samples[i % 8], i % 3)
        for p, change in zip(manifest.trained, host.changes(), strict=True):
            most[p.name] = max(most[p.name], change.updated)
    assert all(most.values())


def test_saturation_is_counted_in_its_own_step(tmp_path: Path) -> None:
    """Momentum leaves int16 at a gradient far above those of the calibration."""
    made, samples = compiled({"momentum": 0.9})
    write(made, tmp_path)
    host = HostModel(tmp_path)
    steps = [host.train(samples[i % 8], 0) for i in range(60)]
    total = 0
    for step in steps:
        total += step.saturated
        assert step.saturations == total


def test_a_refused_label_leaves_what_was_told(tmp_path: Path) -> None:
    made, samples = compiled({})
    write(made, tmp_path)
    host = HostModel(tmp_path)
    host.train(samples[0], 1)
    told = host.changes()
    assert host.train(samples[0], 99).status == 1
    assert host.changes() == told
