"""Random models on emulated cores: the kernels of each instruction set equal TFLM bit for bit.

TINYKIT_FUZZ=N tries N times as many.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.support.arm_kernels import ArmKernels
from tests.support.goldens import tflm
from tests.support.random_models import (
    RandomModel,
    Rule,
    add,
    average_pool2d,
    conv2d,
    depthwise_conv2d,
    fully_connected,
    max_pool2d,
    mean,
    models,
    pad,
    quantize,
    softmax,
    transpose,
)
from tests.support.split import split_weights
from tests.support.tflite_writer import Graph, write
from tinykit.importers import load_model
from tinykit.ops.base import Call

pytestmark = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"
)
EFFORT = int(os.environ.get("TINYKIT_FUZZ", "1"))
MANY: tuple[Rule, ...] = (conv2d, depthwise_conv2d, fully_connected)
OTHERS: tuple[Rule, ...] = (add, average_pool2d, max_pool2d, mean, pad, quantize, softmax,
                           transpose)  # fmt: skip
CORES = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m33")


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("rules", [(rule,) for rule in MANY] + [OTHERS],
                         ids=[rule.__name__ for rule in MANY] + ["others"])  # fmt: skip
def test_kernels_equal_tflm(core: str, rules: tuple[Rule, ...], tmp_path: Path) -> None:
    kernels = ArmKernels(core)

    @settings(
        deadline=None,
        derandomize=True,
        max_examples=40 * EFFORT,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(models(rules, length=1 if rules != OTHERS else 3))
    def run(model: RandomModel) -> None:
        path = tmp_path / "random.tflite"
        path.write_bytes(model.content)
        graph = load_model(path)
        parts = split_weights(graph, np.random.default_rng(len(model.content)))
        for x, variant in zip(model.inputs, (graph, parts), strict=False):
            np.testing.assert_array_equal(kernels.run(variant, x), tflm(model.content, x))

    run()


def test_accesses_outside_are_found(tmp_path: Path) -> None:
    """The check itself: a convolution that is given too little scratch memory."""
    random = np.random.default_rng(0)
    graph = Graph()
    x = graph.tensor((1, 4, 4, 3), 0.1, 3)
    w = graph.constant(random.integers(-9, 9, (4, 3, 3, 3)).astype(np.int8), (0.1,))
    y = graph.tensor((1, 4, 4, 4), 0.1, 3)
    graph.operator("CONV_2D", [x, w, -1], y, {"StrideH": 1, "StrideW": 1}, 3)
    graph.inputs, graph.outputs = [x], [y]
    (tmp_path / "model.tflite").write_bytes(write(graph))
    loaded = load_model(tmp_path / "model.tflite")

    class Stingy(ArmKernels):
        def _call(self, call: Call, places: dict[str, int]) -> None:
            super()._call(replace(call, scratch=call.scratch - 8), places)

    codes = np.zeros((1, 4, 4, 3), np.int8)
    ArmKernels("cortex-m4").run(loaded, codes)
    with pytest.raises(AssertionError, match="tk_conv2d_s8 writes outside"):
        Stingy("cortex-m4").run(loaded, codes)
