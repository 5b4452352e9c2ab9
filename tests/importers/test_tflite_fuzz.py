"""Damaged files: an error line or a graph that runs; never a traceback, a hang or a crash.

TINYKIT_FUZZ=N tries N times as many.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.importers.test_tflite_errors import convolution_model
from tests.support.damage import check, damaged, mutated
from tests.support.kernels import SanitizedKernels
from tests.support.tflite_writer import Graph, write

EFFORT = int(os.environ.get("TINYKIT_FUZZ", "1"))


def small_model() -> bytes:
    """Most operators in 2 KB, so that most mutations hit something that matters."""
    random = np.random.default_rng(0)
    graph = Graph()
    x = graph.tensor((1, 8, 8, 2), 0.1, 3)
    paddings = graph.constant(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    y = graph.operator("PAD", [x, paddings], graph.tensor((1, 10, 10, 2), 0.1, 3))
    w = graph.int4_constant(random.integers(-8, 8, (1, 3, 3, 2)), (0.1, 0.2), axis=3)
    b = graph.constant(np.array([5, -7], np.int32), (0.01, 0.02))
    y = graph.operator(
        "DEPTHWISE_CONV_2D", [y, w, b], graph.tensor((1, 8, 8, 2), 0.2, -9),
        {"Padding": 1, "StrideH": 1, "StrideW": 1, "DepthMultiplier": 1}, 3,
    )  # fmt: skip
    y = graph.operator("ADD", [x, y], graph.tensor((1, 8, 8, 2), 0.3, 0), {}, 2)
    y = graph.operator(
        "AVERAGE_POOL_2D", [y], graph.tensor((1, 4, 4, 2), 0.3, 0),
        {"FilterHeight": 2, "FilterWidth": 2, "StrideH": 2, "StrideW": 2}, 2,
    )  # fmt: skip
    axes = graph.constant(np.array([1, 2], np.int32))
    y = graph.operator("MEAN", [y, axes], graph.tensor((1, 2), 0.3, 1), {}, 2)
    w = graph.constant(random.integers(-99, 99, (5, 2)).astype(np.int8), (0.01,))
    y = graph.operator("FULLY_CONNECTED", [y, w, -1], graph.tensor((1, 5), 0.1, 2), {}, 4)
    y = graph.operator("SOFTMAX", [y], graph.tensor((1, 5), 1 / 256, -128), {"Beta": 1.0}, 2)
    graph.inputs, graph.outputs = [x], [y]
    return write(graph)


@pytest.mark.parametrize("name", ["small", "convolution"])
def test_mutations(name: str, tmp_path: Path, sanitized_kernels: SanitizedKernels) -> None:
    content = small_model() if name == "small" else write(convolution_model())
    path = tmp_path / "damaged.tflite"
    assert check(content, path, sanitized_kernels) == "runs"
    results = [
        check(mutated(content, np.random.default_rng(seed)), path, sanitized_kernels)
        for seed in range(300 * EFFORT)
    ]
    assert results.count("refused") > 50  # the mutations do hit the structure …
    assert results.count("runs") > 10  # … and not only that


def test_mutations_of_a_published_model(
    shared: Path, tmp_path: Path, sanitized_kernels: SanitizedKernels
) -> None:
    content = (shared / "models" / "mlperf_tiny" / "kws_ref_model.tflite").read_bytes()
    for seed in range(60 * EFFORT):
        damaged = mutated(content, np.random.default_rng(seed))
        check(damaged, tmp_path / "damaged.tflite", sanitized_kernels)


def test_mutations_of_random_graphs(tmp_path: Path, sanitized_kernels: SanitizedKernels) -> None:
    """All operators that `make fuzz` draws; `make fuzz DAMAGED=10000` tries more."""
    for number in range(150 * EFFORT):
        check(damaged(number), tmp_path / "damaged.tflite", sanitized_kernels)
