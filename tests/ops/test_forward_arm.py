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
from tests.support.networks import Network
from tests.support.random_models import (
    RandomModel,
    Rule,
    add,
    average_pool2d,
    conv2d,
    depthwise_3x3,
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
from tinykit.ops.evaluate import evaluate

pytestmark = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"
)
EFFORT = int(os.environ.get("TINYKIT_FUZZ", "1"))
MANY: tuple[Rule, ...] = (conv2d, depthwise_conv2d, depthwise_3x3, fully_connected)
LARGEST = {depthwise_3x3: 50}  # maps in several tiles
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
    @given(models(rules, 1 if rules != OTHERS else 3, largest=LARGEST.get(rules[0], 9)))
    def run(model: RandomModel) -> None:
        path = tmp_path / "random.tflite"
        path.write_bytes(model.content)
        graph = load_model(path)
        parts = split_weights(graph, np.random.default_rng(len(model.content)))
        for x, variant in zip(model.inputs, (graph, parts), strict=False):
            np.testing.assert_array_equal(kernels.run(variant, x), tflm(model.content, x))

    run()


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_rows_and_last_tiles_of_one_output(core: str, stride: int) -> None:
    """DSP kernels take outputs in pairs, and a row in tiles of 20 columns: one output is left."""
    kernels = ArmKernels(core)
    for width in range(2, 8):
        tile = ((20 - width) // stride + 1) & ~1
        for outputs in (1, tile + 1):
            net = Network((1, 4, (outputs - 1) * stride + width, 6), seed=width)
            y = net.conv(
                "x", 0, (2, width), (stride, stride), padding=(0, 0, 0, 0), multiplier=1
            )  # fmt: skip
            graph, x = net.graph(y), net.inputs(1)[0]
            assert graph[y].shape[2] == outputs
            expected = evaluate(graph, {"x": x})[y]
            np.testing.assert_array_equal(kernels.run(graph, x), expected, f"{width}, {outputs}")


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


@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m3"])
@pytest.mark.parametrize("depthwise", [False, True], ids=["conv2d", "depthwise"])
@pytest.mark.parametrize("pair", [(-127, -128), (-128, 127), (127, 127), (-128, -128)])
def test_two_products_at_the_ends_of_int16(
    core: str, depthwise: bool, pair: tuple[int, int], tmp_path: Path
) -> None:
    """Cores without DSP instructions sum two products in half a word; (-128, -128) does not fit."""
    random = np.random.default_rng(1)
    graph = Graph()
    x = graph.tensor((1, 7, 9, 3), 1.0, 5)
    y = graph.tensor((1, 7, 9, 3), 9 * 128.0 * 2, -3)
    taps = np.array([*pair, 0] * 3, np.int8)
    if depthwise:
        w = graph.constant(np.repeat(taps, 3).reshape(1, 3, 3, 3), (1.0,))
    else:
        w = graph.constant(np.tile(np.array([*pair] * 14, np.int8)[:27], 3).reshape(3, 3, 3, 3),
                           (1.0,))  # fmt: skip
    bias = graph.constant(np.array([-9, 0, 7], np.int32), (1.0,))
    options = {"StrideH": 1, "StrideW": 1} | ({"DepthMultiplier": 1} if depthwise else {})
    graph.operator("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [x, w, bias], y, options, 3)
    graph.inputs, graph.outputs = [x], [y]
    content = write(graph)
    (tmp_path / "model.tflite").write_bytes(content)
    loaded, kernels = load_model(tmp_path / "model.tflite"), ArmKernels(core)
    ends = np.array([-128, 127], np.int8)
    for codes in (*(np.full((1, 7, 9, 3), end) for end in ends), random.choice(ends, (1, 7, 9, 3))):
        np.testing.assert_array_equal(kernels.run(loaded, codes), tflm(content, codes))


@pytest.mark.parametrize("depthwise", [False, True], ids=["conv2d", "depthwise"])
@pytest.mark.parametrize("channels", [1, 6, 7])
@pytest.mark.parametrize("zero_point", [-128, -127, 127])
@pytest.mark.parametrize("scale", [1.5, 0.9, 0.4, 2.0**-3, 1e-3, 1e-9])
def test_sums_at_the_ends_of_int32_are_rounded_twice(
    scale: float, zero_point: int, channels: int, depthwise: bool, tmp_path: Path
) -> None:
    """Multipliers that shift left, by one and by many bits right; sums beyond 2^30."""
    random = np.random.default_rng(channels + zero_point + 128)
    graph = Graph()
    x = graph.tensor((1, 3, 5, channels if depthwise else 3), 1.0, 5)
    y = graph.tensor((1, 3, 5, channels), 1.0, zero_point)
    shape = (1, 3, 3, channels) if depthwise else (channels, 1, 1, 3)
    scales = tuple(float(s) for s in scale * random.uniform(0.5, 1, channels).astype(np.float32))
    w = graph.constant(random.integers(-127, 128, shape).astype(np.int8), scales,
                       axis=3 if depthwise else 0)  # fmt: skip
    ends = random.choice([-(2**31) + 2**20, -(2**30), 2**30, 2**31 - 2**20], channels)
    near = random.integers(-400, 400, channels)
    bias = np.where(random.random(channels) < 0.5, ends, near / scale).clip(-(2**31), 2**31 - 1)
    b = graph.constant(bias.astype(np.int32), scales, axis=0)
    options = {"StrideH": 1, "StrideW": 1} | ({"DepthMultiplier": 1} if depthwise else {})
    graph.operator("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [x, w, b], y, options, 3)
    graph.inputs, graph.outputs = [x], [y]
    content = write(graph)
    (tmp_path / "model.tflite").write_bytes(content)
    loaded, kernels = load_model(tmp_path / "model.tflite"), ArmKernels("cortex-m4")
    for _ in range(3):
        codes = random.integers(-128, 128, loaded[loaded.inputs[0]].shape).astype(np.int8)
        np.testing.assert_array_equal(kernels.run(loaded, codes), tflm(content, codes))
