"""Published models, imported and simplified, equal TensorFlow Lite Micro bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.goldens import tflm
from tests.support.kernels import SanitizedKernels
from tinykit.importers import load_model
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import evaluate
from tinykit.ops.registry import operator
from tinykit.passes import shrink, simplify

MODELS = (
    "mlperf_tiny/kws_ref_model",
    "mlperf_tiny/vww_96_int8",
    "mlperf_tiny/pretrainedResnet_quant",
    "mlperf_tiny/ad01_int8",
    "mcunet-5fps-10c",
    "mbv2-w0.35-10c",
    "proxyless-w0.3-10c",
)
MACS = {  # from the published descriptions of the models
    "kws_ref_model": 2_656_768,
    "vww_96_int8": 7_489_664,
    "pretrainedResnet_quant": 12_501_632,
    "ad01_int8": 264_192,
    "mcunet-5fps-10c": 22_453_504 + 1_600,  # the convolutions and the head
}
KWS_ON = 5  # of Down, Go, Left, No, Off, On, Right, Stop, Up, Yes, silence, unknown


def infer(graph: Graph, x: Array) -> Array:
    return evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]


@pytest.mark.parametrize("name", MODELS)
def test_equals_tflm(name: str, shared: Path, sanitized_kernels: SanitizedKernels) -> None:
    path = shared / "models" / f"{name}.tflite"
    content = path.read_bytes()
    raw = load_model(path)
    simple = simplify(raw)
    small = shrink(simple)
    random = np.random.default_rng(7)
    shape = raw[raw.inputs[0]].shape
    inputs = [
        random.integers(-128, 128, shape).astype(np.int8),
        np.clip(random.normal(0, 30, shape), -128, 127).astype(np.int8),
    ]
    for x in inputs:
        expected = tflm(content, x)
        np.testing.assert_array_equal(infer(raw, x), expected)
        np.testing.assert_array_equal(infer(simple, x), expected)
        np.testing.assert_array_equal(infer(small, x), expected)
    for graph in (simple, small):
        np.testing.assert_array_equal(sanitized_kernels.run(graph, x), expected)
        np.testing.assert_array_equal(sanitized_kernels.run(graph, x, rows=True), expected)


@pytest.mark.parametrize("name", MODELS)
def test_layers_have_short_unique_names(name: str, shared: Path) -> None:
    graph = load_model(shared / "models" / f"{name}.tflite")
    names = [op.name for op in graph.ops]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and len(name) <= 40 for name in names)


def test_layer_names_come_from_keras(shared: Path) -> None:
    graph = load_model(shared / "models" / "mlperf_tiny" / "kws_ref_model.tflite")
    assert [op.name for op in graph.ops[:3]] == ["conv2d", "depthwise_conv2d", "conv2d_1"]
    assert [op.name for op in graph.ops[-4:]] == [
        "average_pooling2d", "reshape_10", "dense", "softmax_12",
    ]  # fmt: skip


def multiply_accumulates(graph: Graph) -> int:
    return sum(operator(op.kind).cost(graph, op).macs for op in graph.ops)


@pytest.mark.parametrize("name", [m for m in MODELS if Path(m).name in MACS])
def test_multiply_accumulates(name: str, shared: Path) -> None:
    graph = load_model(shared / "models" / f"{name}.tflite")
    assert multiply_accumulates(graph) == MACS[Path(name).name]


def test_half_of_visual_wake_words_is_dead(shared: Path) -> None:
    """Its training drove whole channels to zero; ANCHORS.md counts 3,869,504 without them."""
    graph = simplify(load_model(shared / "models" / "mlperf_tiny" / "vww_96_int8.tflite"))
    small = shrink(graph)
    assert multiply_accumulates(small) <= 3_869_504
    assert small[small.inputs[0]].shape == (1, 96, 96, 3)
    assert small[small.outputs[0]].shape == (1, 2)


def test_keyword_of_a_real_recording(shared: Path) -> None:
    folder = shared / "models" / "mlperf_tiny"
    graph = load_model(folder / "kws_ref_model.tflite")
    x = np.load(folder / "kws_sample_int8.npy")
    assert int(infer(graph, x).argmax()) == KWS_ON


def test_anomaly_score_of_a_real_recording(shared: Path) -> None:
    """../shared/models/README.md gives 10.2645 over 196 windows of 5 frames."""
    folder = shared / "models" / "mlperf_tiny"
    graph = load_model(folder / "ad01_int8.tflite")
    frames = np.fromfile(folder / "ad_sample_logmel_200x128_f32.bin", np.float32).reshape(200, 128)
    x_quant, y_quant = graph[graph.inputs[0]].quant, graph[graph.outputs[0]].quant
    errors = []
    for i in range(196):
        window = frames[i : i + 5].reshape(1, 640)
        codes = np.round(window / np.float32(x_quant.scale0)) + x_quant.zero_point0
        y = infer(graph, np.clip(codes, -128, 127).astype(np.int8))
        real = (y.astype(np.float64) - y_quant.zero_point0) * y_quant.scale0
        errors.append(np.mean((window - real) ** 2))
    assert np.mean(errors) == pytest.approx(10.2645, abs=5e-4)
