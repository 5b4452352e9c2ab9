"""Generated C equals TensorFlow Lite Micro bit for bit: published and random models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.support.generated import infer_generated
from tests.support.goldens import tflm
from tests.support.random_models import RULES, RandomModel, models
from tinykit.importers import load_model


@pytest.mark.parametrize(
    ("name", "sanitize"),
    [
        ("mlperf_tiny/kws_ref_model", True),
        ("mlperf_tiny/vww_96_int8", False),
        ("mlperf_tiny/pretrainedResnet_quant", False),
        ("mlperf_tiny/ad01_int8", False),
        ("mcunet-5fps-10c", True),
        ("mbv2-w0.35-10c", False),
        ("proxyless-w0.3-10c", False),
    ],
)
def test_published_model(name: str, sanitize: bool, shared: Path, tmp_path: Path) -> None:
    path = shared / "models" / f"{name}.tflite"
    graph = load_model(path)
    random = np.random.default_rng(11)
    shape = graph[graph.inputs[0]].shape
    inputs = [random.integers(-128, 128, shape).astype(np.int8) for _ in range(2)]
    outputs = infer_generated(graph, inputs, tmp_path, sanitize)
    for x, y in zip(inputs, outputs, strict=True):
        np.testing.assert_array_equal(y, tflm(path.read_bytes(), x))


def test_random_chains(tmp_path: Path) -> None:
    count = iter(range(1000))

    @settings(
        deadline=None,
        derandomize=True,
        max_examples=5,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(models(RULES, length=8))
    def run(model: RandomModel) -> None:
        folder = tmp_path / str(next(count))
        folder.mkdir()
        (folder / "random.tflite").write_bytes(model.content)
        graph = load_model(folder / "random.tflite")
        outputs = infer_generated(graph, list(model.inputs), folder, sanitize=False)
        for x, y in zip(model.inputs, outputs, strict=True):
            np.testing.assert_array_equal(y, tflm(model.content, x))

    run()
