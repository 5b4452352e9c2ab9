"""The kernels for Helium equal TFLM bit for bit, on QEMU's Cortex-M55.

TINYKIT_FUZZ=N tries N times as many random models.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.support import helium
from tests.support.goldens import tflm
from tests.support.helium import HeliumKernels
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
)
from tests.support.split import split_weights
from tests.support.tflite_writer import Graph as File
from tests.support.tflite_writer import write
from tinykit.importers import load_model
from tinykit.ir import Graph
from tinykit.ops.base import Call

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(helium.MISSING is not None, reason=f"{helium.MISSING} is not installed"),
]
EFFORT = int(os.environ.get("TINYKIT_FUZZ", "1"))
MANY: tuple[Rule, ...] = (conv2d, depthwise_conv2d, fully_connected)
OTHERS: tuple[Rule, ...] = (add, average_pool2d, max_pool2d, mean, pad, quantize, softmax)
LAYERS = ("conv2d", "depthwise_conv2d", "fully_connected")


def learning(graph: Graph) -> Graph:
    """The same function with weights that learn: kernels subtract the zero point themselves."""
    names = {name for op in graph.of_kind(*LAYERS) for name in op.inputs[1:] if name}
    return graph.with_tensors([replace(graph[name], storage="parameters") for name in names])


@pytest.mark.parametrize("rules", [(rule,) for rule in MANY] + [OTHERS],
                         ids=[rule.__name__ for rule in MANY] + ["others"])  # fmt: skip
def test_random_models(rules: tuple[Rule, ...], tmp_path: Path) -> None:
    kernels = HeliumKernels()

    @settings(
        deadline=None,
        derandomize=True,
        max_examples=150 * EFFORT,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(models(rules, length=1 if rules != OTHERS else 3))
    def collect(model: RandomModel) -> None:
        path = tmp_path / "random.tflite"
        path.write_bytes(model.content)
        graph = load_model(path)
        split = split_weights(graph, np.random.default_rng(len(model.content)))
        variants = (graph, split, learning(split))
        for x, variant, rows in zip(model.inputs, variants, (False, True, False), strict=True):
            kernels.check(variant, x, tflm(model.content, x), repr(model), rows)

    collect()
    kernels.finish()


def layer(
    random: np.random.Generator,
    builtin: str,
    shape: tuple[int, int, int],
    kernel: tuple[int, int],
    stride: int,
    outputs: int,
    padding: int,
    factor: float,
) -> bytes:
    """A file with one convolution; `factor` scales its outputs to about factor * 64 codes."""
    height, width, channels = shape
    depthwise = builtin == "DEPTHWISE_CONV_2D"
    fan_in = kernel[0] * kernel[1] * (1 if depthwise else channels)
    graph = File()
    zero_points = [int(random.choice([-128, -3, 127])) for _ in range(2)]
    x = graph.tensor((1, *shape), 0.5, zero_points[0])
    form = (1, *kernel, outputs) if depthwise else (outputs, *kernel, channels)
    scales = tuple(map(float, np.float32(random.uniform(0.5, 2, outputs))))
    weights = random.integers(-127, 128, form).astype(np.int8)
    w = graph.constant(weights, scales, axis=3 if depthwise else 0)
    steps = tuple(float(np.float32(0.5 * scale)) for scale in scales)
    b = graph.constant(random.integers(-9999, 9999, outputs).astype(np.int32), steps)
    sizes = [
        -(-(n if padding == 0 else n - k + 1) // stride)
        for n, k in zip((height, width), kernel, strict=True)
    ]
    scale = float(np.float32(0.5 * np.sqrt(fan_in) * 75 * 75 / 64 / factor))
    y = graph.tensor((1, *sizes, outputs), scale, zero_points[1])
    options = {"StrideH": stride, "StrideW": stride, "Padding": padding,
               "FusedActivationFunction": int(random.choice([0, 1, 3]))}  # fmt: skip
    if depthwise:
        options["DepthMultiplier"] = 1
    graph.operator(builtin, [x, w, b], y, options, 3)
    graph.inputs, graph.outputs = [x], [y]
    return write(graph)


# height, width, channels; kernel; stride
DEPTHWISE = [
    ((25, 5, 64), (3, 3), 1), ((7, 48, 8), (3, 3), 1), ((9, 47, 24), (3, 3), 2),
    ((3, 3, 36), (3, 3), 1), ((2, 1, 16), (3, 3), 1), ((9, 9, 12), (3, 3), 3),
    ((11, 40, 9), (5, 5), 1), ((12, 13, 16), (5, 5), 2), ((12, 31, 7), (7, 7), 1),
    ((12, 13, 20), (7, 7), 2), ((9, 17, 10), (4, 4), 1), ((1, 60, 8), (1, 9), 1),
    ((30, 2, 16), (9, 1), 1), ((9, 9, 16), (1, 1), 2), ((25, 23, 8), (11, 11), 1),
    ((8, 9, 5), (2, 3), 2), ((20, 9, 8), (3, 2), 4), ((6, 33, 5), (8, 8), 1),
]  # fmt: skip
# height, width, channels; kernel; stride; output channels
CONVOLUTIONS = [
    ((49, 10, 1), (10, 4), 2, 64), ((9, 32, 3), (3, 3), 1, 16), ((9, 12, 16), (3, 3), 1, 17),
    ((8, 8, 32), (3, 3), 2, 33), ((6, 6, 64), (1, 1), 1, 64), ((5, 9, 32), (1, 1), 2, 6),
    ((1, 1, 640), (1, 1), 1, 130), ((1, 1, 31), (1, 1), 1, 9), ((1, 3, 16), (1, 1), 1, 3),
    ((7, 9, 7), (1, 1), 1, 5), ((7, 9, 9), (1, 1), 1, 1), ((7, 9, 2), (1, 1), 1, 31),
    ((7, 9, 25), (1, 1), 1, 2), ((7, 21, 5), (5, 5), 1, 4), ((9, 21, 4), (3, 4), 1, 8),
    ((2, 3, 20), (5, 5), 1, 10), ((1, 40, 3), (1, 31), 1, 4),
]  # fmt: skip


@pytest.mark.parametrize("factor", [1.0, 60.0, 2e4, 1e-8],
                         ids=["usual", "small shifts", "left shifts", "shift 31"])  # fmt: skip
def test_shapes_of_convolutions(factor: float, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    kernels = HeliumKernels()
    cases = [("CONV_2D", *case) for case in CONVOLUTIONS]
    cases += [("DEPTHWISE_CONV_2D", *case, case[0][2]) for case in DEPTHWISE]
    for builtin, shape, kernel, stride, outputs in cases:
        for padding in (0, 1):
            if padding == 1 and (kernel[0] > shape[0] or kernel[1] > shape[1]):
                continue
            content = layer(random, builtin, shape, kernel, stride, outputs, padding, factor)
            path = tmp_path / "layer.tflite"
            path.write_bytes(content)
            graph = load_model(path)
            split = split_weights(graph, random)
            name = f"{builtin} {shape} {kernel} {stride} {outputs} {padding}"
            for variant, rows in ((graph, False), (graph, True), (learning(split), False)):
                x = random.integers(-128, 128, (1, *shape)).astype(np.int8)
                kernels.check(variant, x, tflm(content, x), name, rows)
    kernels.finish()


def test_accesses_outside_are_found(tmp_path: Path) -> None:
    """The check itself: a convolution that is given too little scratch memory."""
    content = layer(np.random.default_rng(0), "CONV_2D", (4, 4, 3), (1, 1), 1, 4, 0, 1.0)
    (tmp_path / "model.tflite").write_bytes(content)
    graph = load_model(tmp_path / "model.tflite")
    x = np.zeros((1, 4, 4, 3), np.int8)

    class Stingy(helium.MemoryImage):
        def arguments(self, call: Call, places: dict[str, int]) -> list[int]:
            return super().arguments(replace(call, scratch=call.scratch - 8), places)

    kernels = HeliumKernels()
    kernels.check(graph, x, tflm(content, x))
    kernels.finish()
    kernels.image = Stingy(helium.DATA, helium.SIZE, 0)
    kernels.check(graph, x, tflm(content, x))
    with pytest.raises(AssertionError, match="writes outside"):
        kernels.finish()
