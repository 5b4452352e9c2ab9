"""Transposes: merged where several follow each other, free where they move nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.goldens import tflm
from tests.support.tflite_writer import Graph as File
from tests.support.tflite_writer import write
from tinykit.importers import load_model
from tinykit.ir import Graph
from tinykit.ops.evaluate import evaluate
from tinykit.ops.transpose import TransposeAttributes
from tinykit.passes import simplify

Orders = list[tuple[int, ...]]
RANDOM = np.random.default_rng(8)


def chain(orders: Orders, shape: tuple[int, ...], folder: Path) -> tuple[Graph, Graph]:
    """(before, after) of TRANSPOSEs one after the other with a RELU behind; both equal TFLM."""
    file = File()
    now = file.tensor(shape, 0.1, 3)
    file.inputs = [now]
    for order in orders:
        shape = tuple(shape[axis] for axis in order)
        permutation = file.constant(np.array(order, np.int32))
        y = file.tensor(shape, 0.1, 3)
        now = file.operator("TRANSPOSE", [now, permutation], y, None, 2)
    file.outputs = [file.operator("RELU", [now], file.tensor(shape, 0.1, 3), {}, 2)]
    content = write(file)
    (folder / "net.tflite").write_bytes(content)
    before = load_model(folder / "net.tflite")
    after = simplify(before)
    x = RANDOM.integers(-128, 128, before[before.inputs[0]].shape).astype(np.int8)
    expected = tflm(content, x)
    for graph in (before, after):
        y = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(y, expected)
    return before, after


@pytest.mark.parametrize(
    ("orders", "shape", "left"),
    [
        ([(0, 3, 1, 2), (0, 2, 3, 1)], (1, 4, 5, 3), []),  # back again
        ([(0, 3, 1, 2), (0, 3, 2, 1)], (1, 4, 5, 3), [(0, 2, 1, 3)]),
        ([(0, 3, 1, 2)], (1, 4, 5, 3), [(0, 3, 1, 2)]),
        ([(0, 2, 3, 1)] * 3, (1, 4, 5, 3), []),
        ([(0, 2, 1, 3)], (1, 1, 7, 3), ["reshape"]),
        ([(0, 2, 1)], (1, 6, 1), ["reshape"]),
        ([(0, 2, 1, 3)], (1, 2, 7, 3), [(0, 2, 1, 3)]),
    ],
)
def test_transposes(
    orders: Orders, shape: tuple[int, ...], left: list[object], tmp_path: Path
) -> None:
    before, after = chain(orders, shape, tmp_path)
    assert [op.kind for op in before.ops] == ["transpose"] * len(orders) + ["relu"]
    found = [
        op.attributes.permutation if isinstance(op.attributes, TransposeAttributes) else op.kind
        for op in after.ops
    ]
    assert found == [*left, "relu"]


def test_a_transpose_that_others_read_stays(tmp_path: Path) -> None:
    file = File()
    x = file.tensor((1, 4, 5, 3), 0.1, 3)
    first = file.constant(np.array([0, 3, 1, 2], np.int32))
    second = file.constant(np.array([0, 2, 3, 1], np.int32))
    between = file.operator("TRANSPOSE", [x, first], file.tensor((1, 3, 4, 5), 0.1, 3), None, 2)
    back = file.operator("TRANSPOSE", [between, second], file.tensor((1, 4, 5, 3), 0.1, 3), None, 2)
    again = file.operator("TRANSPOSE", [back, first], file.tensor((1, 3, 4, 5), 0.1, 3), None, 2)
    total = file.operator("ADD", [again, between], file.tensor((1, 3, 4, 5), 0.2, 3), {}, 2)
    file.inputs, file.outputs = [x], [total]
    content = write(file)
    (tmp_path / "net.tflite").write_bytes(content)
    before = load_model(tmp_path / "net.tflite")
    after = simplify(before)
    assert [op.kind for op in after.ops] == ["transpose", "transpose", "add"]
    values = RANDOM.integers(-128, 128, (1, 4, 5, 3)).astype(np.int8)
    y = evaluate(after, {after.inputs[0]: values})[after.outputs[0]]
    np.testing.assert_array_equal(y, tflm(content, values))
