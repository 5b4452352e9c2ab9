"""Published streaming wake-word models (PyPI pymicro-wakeword) equal TensorFlow Lite Micro.

Noise is no word to them: their probability is 0 for nearly all of it. So each runs twice, as it is
and up to its logit, which tells every frame from the next.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests.host.test_streaming_state import FRAMES, load, tflm_stream
from tinykit.codegen import generate
from tinykit.host import HostModel
from tinykit.ir import Array

WORDS = ("alexa", "hey_jarvis", "hey_mycroft", "okay_nabu")


def model(word: str) -> Path:
    package = importlib.util.find_spec("pymicro_wakeword")
    if package is None:
        pytest.skip("pymicro-wakeword has wheels for Linux alone")
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "models" / f"{word}.tflite"


def until_the_logit(content: bytes) -> bytes:
    """The same file with the last layer's result for its output."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    (graph,) = [g for g in model.subgraphs if len(g.outputs) > 0]
    kinds = [model.operatorCodes[op.opcodeIndex].builtinCode for op in graph.operators]
    last = max(i for i, kind in enumerate(kinds) if kind == schema.BuiltinOperator.FULLY_CONNECTED)
    graph.outputs = graph.operators[last].outputs
    graph.operators = graph.operators[: last + 1]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def loud_and_quiet(shape: tuple[int, ...]) -> list[Array]:
    """Noise whose level and spectrum change every 20 frames."""
    random = np.random.default_rng(3)
    turns = FRAMES // 20
    level = random.uniform(0, 120, (turns, *(1 for _ in shape))) * random.uniform(
        0, 2, (turns, *shape)
    )
    return list(np.clip(np.repeat(level, 20, axis=0) - 128, -128, 127).astype(np.int8))


@pytest.mark.parametrize("part", ["whole", "logit"])
@pytest.mark.parametrize("word", WORDS)
def test_a_thousand_frames_equal_tflm(word: str, part: str, tmp_path: Path) -> None:
    """In the middle the state is saved, spoilt by other frames, and restored."""
    content = model(word).read_bytes()
    if part == "logit":
        content = until_the_logit(content)
    graph = load(tmp_path, content)
    inputs = loud_and_quiet(graph[graph.inputs[0]].shape)
    expected = tflm_stream(content, inputs)
    assert len({y.tobytes() for y in expected}) > (20 if part == "logit" else 2)
    generate(graph, tmp_path, name="word")
    host = HostModel(tmp_path)
    found = [host.infer(x) for x in inputs[: FRAMES // 2]]
    saved = host.state
    for x in inputs[:20]:
        host.infer(x)
    assert host.state != saved
    host.state = saved
    found += [host.infer(x) for x in inputs[FRAMES // 2 :]]
    np.testing.assert_array_equal(found, expected)
