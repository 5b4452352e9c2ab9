"""Models with variables: generated C keeps its state as TensorFlow Lite Micro does, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.goldens import tflm_stream
from tests.support.streaming_models import streaming_model
from tinykit.codegen import generate
from tinykit.errors import ModelError, TinykitError
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import evaluate

FRAMES = 1000


def load(folder: Path, content: bytes | None = None) -> Graph:
    path = folder / "stream.tflite"
    path.write_bytes(content or streaming_model())
    return load_model(path)


def frames(graph: Graph, count: int) -> list[Array]:
    random = np.random.default_rng(3)
    shape = (count, *graph[graph.inputs[0]].shape)
    return list(random.integers(-128, 128, shape).astype(np.int8))


def test_a_thousand_frames_equal_tflm_and_the_reference(tmp_path: Path) -> None:
    graph = load(tmp_path)
    inputs = frames(graph, FRAMES)
    expected = tflm_stream(streaming_model(), inputs)
    assert len({y.tobytes() for y in expected}) > FRAMES // 2
    generate(graph, tmp_path, name="stream")
    host = HostModel(tmp_path)
    state = {name: t.value for name, t in graph.tensors.items() if t.storage == "state"}
    assert len(state) == 2
    for x, y in zip(inputs, expected, strict=True):
        run = evaluate(graph, {graph.inputs[0]: x}, parameters=state)
        state = {name: run[name] for name in state}
        np.testing.assert_array_equal(run[graph.outputs[0]], y)
        np.testing.assert_array_equal(host.infer(x), y)


def test_state_is_saved_restored_and_reset(tmp_path: Path) -> None:
    graph = load(tmp_path)
    manifest = generate(graph, tmp_path, name="stream")
    assert manifest.memory.sram["state"] == manifest.state_bytes == 2 * 4 * 6
    host = HostModel(tmp_path)
    fresh = host.state
    inputs = frames(graph, 20)
    for x in inputs[:10]:
        host.infer(x)
    saved = host.state
    assert saved != fresh
    later = [host.infer(x) for x in inputs[10:]]
    host.state = saved
    assert all(np.array_equal(host.infer(x), y) for x, y in zip(inputs[10:], later, strict=True))
    host.reset()
    assert host.state == fresh


def test_what_is_not_supported_says_so(tmp_path: Path) -> None:
    graph = load(tmp_path)
    with pytest.raises(TinykitError, match="keeps state"):
        generate(graph, tmp_path, name="stream", input_rows=True)
    without = streaming_model().replace(b"second", b"fourth", 1)
    with pytest.raises(ModelError, match="has no initial value"):
        load(tmp_path, without)
