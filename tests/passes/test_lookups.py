"""Chains of pointwise ops: one op or one table, equal over all 256 codes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.support.arm_kernels import ArmKernels
from tests.support.goldens import tflm
from tests.support.kernels import SanitizedKernels
from tests.support.networks import Network
from tests.support.random_models import RandomModel, models, quantize, relu, relu6, reshape
from tests.support.tflite_writer import Graph as File
from tests.support.tflite_writer import write
from tinykit.codegen import compile_model
from tinykit.importers import load_model
from tinykit.ir import Graph
from tinykit.ops.evaluate import evaluate
from tinykit.passes import shrink, simplify
from tinykit.passes.lookups import use_lookups
from tinykit.training.plan import Plan, Update

EFFORT = int(os.environ.get("TINYKIT_FUZZ", "1"))  # times as many random models
NOTHING: frozenset[str] = frozenset()
Step = tuple[str, float, int]  # TFLite operator, output scale, zero point
CODES = np.arange(-128, 128, dtype=np.int8)


def chain(steps: list[Step], size: int, folder: Path) -> tuple[Graph, Graph]:
    """(before, after) for operators in a row on an input of scale 0.1, 3; both equal TFLM."""
    file = File()
    now = file.tensor((1, size), 0.1, 3)
    file.inputs = [now]
    for builtin, scale, zero in steps:
        y = file.tensor((1, size), scale, zero)
        now = file.operator(builtin, [now], y, {}, 2)
    file.outputs = [now]
    content = write(file)
    (folder / "net.tflite").write_bytes(content)
    before = load_model(folder / "net.tflite")
    after = use_lookups(before, NOTHING).pruned()
    for start in range(0, 256, size):
        x = np.resize(CODES[start : start + size], (1, size))
        expected = tflm(content, x)
        for graph in (before, after):
            y = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
            np.testing.assert_array_equal(y, expected)
    return before, after


@pytest.mark.parametrize(
    ("steps", "size", "left"),
    [
        ([("QUANTIZE", 0.07, -9)], 256, ["lookup"]),
        ([("QUANTIZE", 0.07, -9)], 255, ["quantize"]),  # the table would be larger
        ([("QUANTIZE", 0.3, 5), ("QUANTIZE", 0.1, 3)], 16, ["lookup"]),  # rounded twice
        ([("QUANTIZE", 0.05, 5), ("RELU", 0.05, 5), ("RELU6", 0.05, 5)], 16, ["lookup"]),
        ([("QUANTIZE", 0.2, 5), ("QUANTIZE", 0.4, 5)], 16, ["lookup"]),
        ([("QUANTIZE", 0.1, 1), ("QUANTIZE", 0.1, -9)], 16, ["quantize"]),  # moved twice
        ([("RELU", 0.1, 3), ("QUANTIZE", 0.1, 3)], 16, ["lookup"]),
    ],
)
def test_chains(steps: list[Step], size: int, left: list[str], tmp_path: Path) -> None:
    before, after = chain(steps, size, tmp_path)
    assert len(before.ops) == len(steps)
    assert [op.kind for op in after.ops] == left


def test_a_chain_that_changes_nothing_vanishes(tmp_path: Path) -> None:
    """To a range twice as wide and half as fine and back is lossy; to a shifted one is not."""
    net = Network((1, 4, 4, 3), seed=3)
    quant = net.tensors["x"].quant
    x = net.requantize(net.requantize("x", 1.0), 1.0)
    graph = net.graph(net.conv(x, 4))
    assert graph[x].quant == quant
    assert [op.kind for op in use_lookups(graph, NOTHING).ops] == ["conv2d"]


def test_a_tensor_that_others_read_stays(tmp_path: Path) -> None:
    net = Network((1, 4, 4, 3), seed=3)
    first = net.requantize("x", 0.5)
    graph = net.graph(net.add(net.requantize(first, 0.5), first))
    after = use_lookups(graph, NOTHING)
    assert [op.kind for op in after.ops] == ["quantize", "quantize", "add"]


def test_what_learns_keeps_its_gradient() -> None:
    """Tables in front of the trained layer, none behind it."""
    net = Network((1, 8, 8, 5), seed=4)
    x = net.requantize(net.requantize("x", 0.8), 0.9)
    x = net.conv(x, 6, activation="none")
    x = net.relu(net.requantize(x, 0.7))
    graph = net.graph(net.dense(net.mean(x), 4))
    plan = Plan(update=(Update(layers="all", bias=True),))
    made = compile_model(graph, name="n", plan=plan)
    for program in (made.train, made.infer):
        assert program is not None
        forward = [op.kind for op in program.graph.ops if op.phase == "forward"]
        kinds = [kind for kind in forward if kind in ("lookup", "quantize", "relu")]
        assert kinds == ["lookup", "quantize", "relu"]


def test_random_chains_equal_tflm(sanitized_kernels: SanitizedKernels, tmp_path: Path) -> None:
    arm = ArmKernels("cortex-m0") if shutil.which("arm-none-eabi-gcc") else None
    tables = 0

    @settings(
        deadline=None,
        derandomize=True,
        max_examples=60 * EFFORT,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(model=models((quantize, relu, relu6, reshape), length=5))
    def run(model: RandomModel) -> None:
        nonlocal tables
        path = tmp_path / "random.tflite"
        path.write_bytes(model.content)
        small = shrink(simplify(load_model(path)))
        tables += len(small.of_kind("lookup"))
        for x in model.inputs:
            expected = tflm(model.content, x)
            y = evaluate(small, {small.inputs[0]: x})[small.outputs[0]]
            np.testing.assert_array_equal(y, expected)
            np.testing.assert_array_equal(sanitized_kernels.run(small, x), expected, "C")
        if arm is not None and small.of_kind("lookup"):
            np.testing.assert_array_equal(arm.run(small, x), expected, "Cortex-M0")

    run()
    assert tables > 10
