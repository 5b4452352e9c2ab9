"""Models with several inputs and outputs: blocks of bytes, equal to TensorFlow Lite Micro."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.tflite_writer import Graph, write
from tinykit.codegen import generate
from tinykit.data import Samples, codings
from tinykit.errors import PlanError, UsageError
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.ir import Array
from tinykit.ops.evaluate import evaluate
from tinykit.passes import shrink, simplify
from tinykit.passes.ports import input_places, output_places, with_output
from tinykit.training.plan import head_only

RANDOM = np.random.default_rng(5)


def detector() -> bytes:
    """Two inputs, one of them uint8; boxes int8 and scores uint8 of different layers."""
    graph, random = Graph(), np.random.default_rng(7)
    image = graph.tensor((1, 4, 4, 2), 0.1, 3, name="image")
    depth = graph.tensor((1, 4, 4, 2), 0.2, 120, "UINT8", name="depth")
    inner = graph.operator("QUANTIZE", [depth], graph.tensor((1, 4, 4, 2), 0.2, -8))
    both = graph.operator("ADD", [image, inner], graph.tensor((1, 4, 4, 2), 0.3, 1), {}, 2)
    flat = graph.operator("RESHAPE", [both], graph.tensor((1, 32), 0.3, 1), None)
    heads = []
    for count, name in ((5, "boxes"), (3, "classes")):
        w = graph.constant(random.integers(-99, 99, (count, 32)).astype(np.int8), (0.01,))
        y = graph.tensor((1, count), 0.4, 2, name=name)
        heads.append(graph.operator("FULLY_CONNECTED", [flat, w, -1], y, {}, 4))
    scores = graph.tensor((1, 3), 1 / 256, -128, name="probabilities")
    scores = graph.operator("SOFTMAX", [heads[1]], scores, {"Beta": 1.0}, 2)
    outer = graph.tensor((1, 3), 1 / 256, 0, "UINT8", name="scores")
    outer = graph.operator("QUANTIZE", [scores], outer)
    graph.inputs, graph.outputs = [image, depth], [heads[0], outer]
    return write(graph)


def tflm_all(content: bytes, inputs: list[Array]) -> list[Array]:
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(content, arena_size=1 << 18)
    for i, x in enumerate(inputs):
        interpreter.set_input(x, i)
    interpreter.invoke()
    return [np.array(interpreter.get_output(i)) for i in range(2)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "detector.tflite"
    path.write_bytes(detector())
    return path


def test_blocks_of_bytes_equal_tflm(path: Path, tmp_path: Path) -> None:
    raw = load_model(path)
    assert [(p.tensor.name, p.first) for p in input_places(raw)] == [("image", 0), ("depth", 32)]
    assert [(p.tensor.name, p.first) for p in output_places(raw)] == [("boxes", 0), ("scores", 5)]
    assert raw[raw.inputs[0]].shape == (1, 64)
    assert raw[raw.outputs[0]].shape == (1, 8)
    manifest = generate(raw, tmp_path / "c", name="detector")
    assert [port.name for port in manifest.outputs] == ["boxes", "scores"]
    header = (tmp_path / "c" / "detector.h").read_text()
    assert "#define DETECTOR_INPUT_1_OFFSET 32\n" in header
    assert "#define DETECTOR_OUTPUT_1_OFFSET 5\n" in header
    host = HostModel(tmp_path / "c")
    for _ in range(20):
        image = RANDOM.integers(-128, 128, (1, 4, 4, 2)).astype(np.int8)
        depth = RANDOM.integers(0, 256, (1, 4, 4, 2)).astype(np.uint8)
        boxes, scores = tflm_all(detector(), [image, depth])
        block = np.concatenate([image.reshape(-1), depth.reshape(-1).view(np.int8)])[None]
        expected = np.concatenate([boxes.reshape(-1), scores.reshape(-1).view(np.int8)])[None]
        for graph in (raw, shrink(simplify(raw))):
            found = evaluate(graph, {graph.inputs[0]: block})[graph.outputs[0]]
            np.testing.assert_array_equal(found, expected)
        output = host.infer(block)
        np.testing.assert_array_equal(output, expected)
        parts = [port.codes(output.tobytes()) for port in manifest.outputs]
        np.testing.assert_array_equal(parts[0], boxes.reshape(-1))
        np.testing.assert_array_equal(parts[1], scores.reshape(-1))


def test_samples_are_quantized_as_each_input_is(path: Path) -> None:
    x = np.stack([np.linspace(-20, 20, 64), np.linspace(20, -20, 64)]).astype(np.float32)
    found = Samples(x, None, "x").quantized(codings(load_model(path)))
    assert found.shape == (2, 1, 64)
    image = np.clip(np.round(x[0, :32].astype(np.float64) / 0.1) + 3, -128, 127)
    depth = np.clip(np.round(x[0, 32:].astype(np.float64) / 0.2) + 120, 0, 255)
    assert np.abs(found[0, 0, :32] - image).max() <= 1  # halves of float32
    assert np.abs(found[0, 0, 32:].view(np.uint8) - depth).max() <= 1
    with pytest.raises(UsageError, match=r"the model's input \[1, 4, 4, 2\] and \[1, 4, 4, 2\]"):
        Samples(x[:, 1:], None, "x").quantized(codings(load_model(path)))


def test_one_output_can_be_chosen_and_learns(path: Path, tmp_path: Path) -> None:
    raw = load_model(path)
    with pytest.raises(PlanError, match="has 2 outputs; one can learn"):
        generate(raw, tmp_path / "all", name="all", plan=head_only())
    for wanted in ("boxes", 0):
        chosen = with_output(raw, wanted)
        assert output_places(chosen)[0].tensor.name == "boxes"
    manifest = generate(
        simplify(with_output(raw, 0)), tmp_path / "one", name="one", plan=head_only()
    )
    assert manifest.trains
    assert manifest.output.shape == (1, 5)
    with pytest.raises(UsageError, match="has no output nose"):
        with_output(raw, "nose")
