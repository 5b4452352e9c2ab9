"""Damaged files: an error line or a graph that runs; never a traceback, a hang or a crash.

TINYKIT_FUZZ=N tries N times as many.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from tests.importers.test_tflite_errors import convolution_model
from tests.support.kernels import SanitizedKernels
from tests.support.tflite_writer import Graph, write
from tinykit.errors import TinykitError
from tinykit.importers import load_model
from tinykit.ops.evaluate import evaluate
from tinykit.passes import simplify

EFFORT = int(os.environ.get("TINYKIT_FUZZ", "1"))
SECONDS = 10  # far more than any file of this size needs, on a busy machine


def small_model() -> bytes:
    """Most operators in 2 KB, so that most mutations hit something that matters."""
    random = np.random.default_rng(0)
    graph = Graph()
    x = graph.tensor((1, 8, 8, 2), 0.1, 3)
    paddings = graph.constant(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    y = graph.operator("PAD", [x, paddings], graph.tensor((1, 10, 10, 2), 0.1, 3))
    w = graph.constant(random.integers(-9, 9, (1, 3, 3, 2)).astype(np.int8), (0.1, 0.2), axis=3)
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


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """One or two damages: bits, bytes, words, blocks, cuts."""
    data = bytearray(content)
    for _ in range(random.integers(1, 3)):
        at = int(random.integers(0, len(data)))
        kind = random.choice([0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 6, 7])
        if kind == 0:
            data[at] ^= 1 << random.integers(0, 8)
        elif kind == 1:
            data[at] = random.integers(0, 256)
        elif kind == 2:
            word = random.choice([0, 1, -1, 2**31 - 1, -(2**31), 2**16, -2, 255])
            data[at : at + 4] = struct.pack("<i", word)
        elif kind == 3:
            value = float(random.choice([0, -1, np.nan, np.inf, 1e-38, 1e38]))
            data[at : at + 4] = struct.pack("<f", value)
        elif kind == 4:
            del data[at : at + int(random.integers(1, 9))]
        elif kind == 5:
            data[at:at] = bytes(int(random.integers(1, 9)))
        elif kind == 6:
            source = int(random.integers(0, len(data)))
            data[at : at + 8] = data[source : source + 8]
        else:
            data = data[: max(at, 8)]
    return bytes(data)


def check(content: bytes, path: Path, kernels: SanitizedKernels) -> str:
    """Loads and, where that works, runs a file; returns what happened."""
    path.write_bytes(content)
    begun = time.monotonic()
    try:
        graph = load_model(path)
        simple = simplify(graph)
    except TinykitError as error:
        refusal: str | None = error.message
    else:
        refusal = None
    assert time.monotonic() - begun < SECONDS
    if refusal is not None:
        assert refusal.isprintable()
        return "refused"
    shape, dtype = graph[graph.inputs[0]].shape, np.dtype(graph[graph.inputs[0]].dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = np.random.default_rng(0).integers(low, high + 1, shape).astype(dtype)
    y = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    np.testing.assert_array_equal(evaluate(simple, {simple.inputs[0]: x})[simple.outputs[0]], y)
    np.testing.assert_array_equal(kernels.run(simple, x), y)
    return "runs"


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
