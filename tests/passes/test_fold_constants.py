"""Ops that read nothing but constants are evaluated once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.goldens import tflm
from tests.support.tflite_writer import Graph as File
from tests.support.tflite_writer import write
from tinykit.importers import load_model
from tinykit.ops.evaluate import evaluate
from tinykit.passes import shrink, simplify
from tinykit.passes.fold_constants import fold_constants

RANDOM = np.random.default_rng(9)
NOTHING: frozenset[str] = frozenset()


def test_constants_are_evaluated(tmp_path: Path) -> None:
    """x + reshape(quantize(c)): one ADD of a constant is left."""
    file = File()
    x = file.tensor((1, 4, 5), 0.1, 3)
    codes = RANDOM.integers(-128, 128, (1, 20)).astype(np.int8)
    constant = file.constant(codes, (0.07,), (-20,))
    finer = file.operator("QUANTIZE", [constant], file.tensor((1, 20), 0.11, 9), {}, 2)
    shape = file.constant(np.array([1, 4, 5], np.int32))
    shaped = file.operator("RESHAPE", [finer, shape], file.tensor((1, 4, 5), 0.11, 9), None)
    total = file.operator("ADD", [x, shaped], file.tensor((1, 4, 5), 0.2, -4), {}, 2)
    file.inputs, file.outputs = [x], [total]
    content = write(file)
    (tmp_path / "net.tflite").write_bytes(content)
    before = load_model(tmp_path / "net.tflite")
    after = fold_constants(before, NOTHING).pruned()
    assert [op.kind for op in before.ops] == ["quantize", "reshape", "add"]
    assert [op.kind for op in after.ops] == ["add"]
    assert after[after.ops[0].inputs[1]].constant
    values = RANDOM.integers(-128, 128, (1, 4, 5)).astype(np.int8)
    for graph in (before, after, shrink(simplify(before))):
        y = evaluate(graph, {graph.inputs[0]: values})[graph.outputs[0]]
        np.testing.assert_array_equal(y, tflm(content, values))


def test_what_learns_is_not_folded(tmp_path: Path) -> None:
    file = File()
    constant = file.constant(RANDOM.integers(-128, 128, (1, 6)).astype(np.int8), (0.07,), (-20,))
    weights = file.constant(RANDOM.integers(-9, 9, (4, 6)).astype(np.int8), (0.1,))
    made = file.tensor((1, 4), 0.1, 3)
    dense = file.operator("FULLY_CONNECTED", [constant, weights, -1], made, {}, 4)
    x = file.tensor((1, 4), 0.1, 3)
    total = file.operator("ADD", [x, dense], file.tensor((1, 4), 0.2, -4), {}, 2)
    file.inputs, file.outputs = [x], [total]
    (tmp_path / "net.tflite").write_bytes(write(file))
    graph = load_model(tmp_path / "net.tflite")
    assert len(fold_constants(graph, NOTHING).ops) == 1
    assert len(fold_constants(graph, frozenset({graph.ops[0].name})).ops) == 2
