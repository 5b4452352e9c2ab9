"""In a streamed segment, too, the first layer that differs is named, though its rows interleave."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.networks import Network
from tinykit.codegen import generate
from tinykit.host import HostModel
from tinykit.verify.locate import first_differing
from tinykit.verify.reference import HostSide, Sample


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_the_first_wrong_layer_is_found(tmp_path: Path) -> None:
    net = Network((1, 16, 8, 2))
    x = net.conv("x", 8)
    for _ in range(2):
        x = net.conv(net.depthwise(x), 8, (1, 1))
    graph = net.graph(net.dense(net.mean(x), 3))
    manifest = generate(graph, tmp_path / "right", name="model")
    assert manifest.segments[0].ops > 4
    right = HostSide(HostModel(tmp_path / "right"), traced=True)
    sample = Sample(np.ascontiguousarray(net.inputs(1)[0]))
    for op in manifest.ops:
        layer = next(o for o in graph.ops if o.name == op.name)
        if len(layer.inputs) < 2:
            continue
        weights = graph[layer.inputs[1]]
        altered = graph.with_tensors([replace(weights, data=-weights.value)])
        folder = tmp_path / f"wrong {op.index}"
        generate(altered, folder, name="model")
        wrong = HostSide(HostModel(folder), traced=True)
        found = first_differing(wrong, right, sample, manifest.ops, lambda: None)  # type: ignore[arg-type]
        assert found is not None
        assert found.name == op.name
