"""Each pass: the graph before and after, and the same output bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.goldens import tflm
from tests.support.tflite_writer import Graph as File
from tests.support.tflite_writer import write
from tinykit.importers import load_model
from tinykit.ir import Graph, Quantization
from tinykit.ops.conv2d import Conv2DAttributes
from tinykit.ops.evaluate import evaluate
from tinykit.passes import simplify
from tinykit.passes.dead import remove_dead_ops
from tinykit.passes.fuse_activation import combined, fuse_activations
from tinykit.passes.fuse_pad import fuse_pads
from tinykit.passes.identities import drop_identities, merge_reshapes

RANDOM = np.random.default_rng(5)
SAME: dict[str, float | int] = {"Padding": 0, "StrideH": 1, "StrideW": 1}
VALID: dict[str, float | int] = {"Padding": 1, "StrideH": 2, "StrideW": 2}


class Net:
    """A file under construction, around its latest tensor [1, H, W, 2] of scale 0.1, zero 3."""

    def __init__(self, shape: tuple[int, ...] = (1, 6, 6, 2)) -> None:
        self.file = File()
        self.x = self.now = self.file.tensor(shape, 0.1, 3)
        self.file.inputs = [self.x]

    def shape(self) -> tuple[int, ...]:
        return self.file.tensors[self.now].shape

    def add(self, builtin: str, *inputs: int, shape: tuple[int, ...] = (), scale: float = 0.1,
            zero: int = 3, type: str = "INT8", options: dict[str, float | int] | None = None,
            ) -> Net:  # fmt: skip
        y = self.file.tensor(shape or self.shape(), scale, zero, type)
        self.now = self.file.operator(builtin, [self.now, *inputs], y, options, version=2)
        return self

    def conv(self, options: dict[str, float | int] = SAME) -> Net:
        w = RANDOM.integers(-127, 128, (2, 3, 3, 2)).astype(np.int8)
        _, height, width, _ = self.shape()
        size = (height, width) if options["Padding"] == 0 else ((height - 1) // 2, (width - 1) // 2)
        weights = self.file.constant(w, (0.01,))
        return self.add("CONV_2D", weights, -1, shape=(1, *size, 2), options=options)

    def pad(self, *amounts: tuple[int, int], value: int | None = None) -> Net:
        paddings = [self.file.constant(np.array(amounts, np.int32))]
        if value is not None:
            paddings.append(self.file.constant(np.array([value], np.int8), (0.1,), (3,)))
        shape = tuple(n + a + b for n, (a, b) in zip(self.shape(), amounts, strict=True))
        return self.add("PAD" if value is None else "PADV2", *paddings, shape=shape)

    def reshape(self, *shape: int) -> Net:
        return self.add("RESHAPE", shape=shape)

    def graph(self, folder: Path) -> Graph:
        self.file.outputs = [self.now]
        path = folder / "net.tflite"
        path.write_bytes(write(self.file))
        return load_model(path)


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops]


def check(before: Graph, after: Graph) -> None:
    """Same input, same output, same bits."""
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    x = RANDOM.integers(-128, 128, before[before.inputs[0]].shape).astype(np.int8)
    results = [evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]] for graph in (before, after)]
    np.testing.assert_array_equal(results[0], results[1])


ROWS_AND_COLUMNS = ((0, 0), (0, 1), (2, 1), (0, 0))


def test_pad_moves_into_convolution(tmp_path: Path) -> None:
    before = Net().pad(*ROWS_AND_COLUMNS).conv(VALID).graph(tmp_path)
    after = fuse_pads(before)
    assert kinds(after) == ["conv2d"]
    attributes = after.ops[0].attributes
    assert isinstance(attributes, Conv2DAttributes)
    assert attributes.padding == (0, 1, 2, 1)
    check(before, after)


def test_pad_adds_to_the_convolutions_own(tmp_path: Path) -> None:
    before = Net().pad(*ROWS_AND_COLUMNS).conv(SAME).graph(tmp_path)
    after = fuse_pads(before)
    assert kinds(after) == ["conv2d"]
    check(before, after)


def test_pad_of_a_sequence_moves_into_convolution(tmp_path: Path) -> None:
    """A causal Conv1D: [1, T, C] is padded and then becomes a map of one row."""
    net = Net((1, 36, 2)).pad((0, 0), (2, 0), (0, 0)).reshape(1, 1, 38, 2).conv(SAME)
    before = net.graph(tmp_path)
    after = simplify(before)
    assert kinds(after) == ["reshape", "conv2d"]
    check(before, after)


def test_pad_stays_in_front_of_a_reshape_that_mixes_axes(tmp_path: Path) -> None:
    net = Net((1, 36, 2)).pad((0, 0), (2, 0), (0, 0)).reshape(1, 2, 19, 2).conv(SAME)
    before = net.graph(tmp_path)
    after = simplify(before)
    assert kinds(after) == ["pad", "reshape", "conv2d"]
    check(before, after)


def no_zero(net: Net) -> Net:
    return net.pad(*ROWS_AND_COLUMNS, value=4).conv(VALID)


def channels(net: Net) -> Net:
    return Net((1, 6, 6, 1)).pad((0, 0), (1, 1), (1, 1), (0, 1)).conv(VALID)


def other_reader(net: Net) -> Net:
    padded = net.pad((0, 0), (1, 1), (1, 1), (0, 0)).now
    return net.conv(SAME).add("ADD", padded)


def last(net: Net) -> Net:
    return net.conv(SAME).pad(*ROWS_AND_COLUMNS)


@pytest.mark.parametrize("build", [no_zero, channels, other_reader, last])
def test_pad_stays(build: Callable[[Net], Net], tmp_path: Path) -> None:
    before = build(Net()).graph(tmp_path)
    after = fuse_pads(before)
    assert kinds(after) == kinds(before)
    check(before, after)


@pytest.mark.parametrize(("builtin", "activation"), [("RELU", "relu"), ("RELU6", "relu6")])
def test_activation_moves_into_producer(builtin: str, activation: str, tmp_path: Path) -> None:
    before = Net().conv().add(builtin).graph(tmp_path)
    after = fuse_activations(before)
    assert kinds(after) == ["conv2d"]
    attributes = after.ops[0].attributes
    assert isinstance(attributes, Conv2DAttributes)
    assert attributes.activation == activation
    check(before, after)


def test_activation_moves_through_reshapes(tmp_path: Path) -> None:
    before = Net().conv().reshape(1, 36, 2).add("RELU").graph(tmp_path)
    after = fuse_activations(before)
    assert kinds(after) == ["conv2d", "reshape"]
    check(before, after)


@pytest.mark.parametrize("value", [3, -100, 127])
def test_activation_moves_in_front_of_a_pad(value: int, tmp_path: Path) -> None:
    """What the pad fills in is clamped as well."""
    net = Net().conv().pad(*ROWS_AND_COLUMNS, value=value).add("RELU6")
    before = net.graph(tmp_path)
    after = fuse_activations(before)
    assert kinds(after) == ["conv2d", "pad"]
    check(before, after)
    model = (tmp_path / "net.tflite").read_bytes()
    x = RANDOM.integers(-128, 128, (1, 6, 6, 2)).astype(np.int8)
    y = evaluate(after, {after.inputs[0]: x})[after.outputs[0]]
    np.testing.assert_array_equal(y, tflm(model, x))


@pytest.mark.parametrize("builtin", ["MAX_POOL_2D", "AVERAGE_POOL_2D", "ADD"])
def test_activation_moves_into_pools_and_adds(builtin: str, tmp_path: Path) -> None:
    net = Net().conv()
    window: dict[str, float | int] = {"FilterHeight": 2, "FilterWidth": 2}
    if builtin == "ADD":
        net.add(builtin, net.x)
    else:
        net.add(builtin, options=SAME | window)
    before = net.add("RELU").graph(tmp_path)
    after = fuse_activations(before)
    assert kinds(after) == ["conv2d", builtin.lower().replace("_2d", "2d")]
    check(before, after)


def test_activations_combine_where_one_has_the_range_of_both() -> None:
    fine, coarse = Quantization.per_tensor(0.01, -128), Quantization.per_tensor(0.1, 3)
    assert combined("relu6", "relu", coarse) == "relu6"
    assert combined("none", "relu6", coarse) == "relu6"
    assert combined("relu_n1_to_1", "relu6", fine) == "relu_n1_to_1"  # there is nothing below 0
    assert combined("relu_n1_to_1", "relu", coarse) is None  # 0 … 1


def test_relu6_behind_a_fused_relu(tmp_path: Path) -> None:
    before = Net().conv(SAME | {"FusedActivationFunction": 1}).add("RELU6").graph(tmp_path)
    after = fuse_activations(before)
    assert kinds(after) == ["conv2d"]
    check(before, after)


def test_every_activation_of_a_chain_moves(tmp_path: Path) -> None:
    before = Net().conv().add("RELU6").conv().add("RELU").conv().add("RELU6").graph(tmp_path)
    after = fuse_activations(before)
    assert kinds(after) == ["conv2d"] * 3
    check(before, after)


def rescaling(net: Net) -> Net:
    return net.conv().add("RELU", scale=0.05, zero=-128)


def read_twice(net: Net) -> Net:
    y = net.conv().now
    return net.add("RELU").add("ADD", y)


def of_the_input(net: Net) -> Net:
    return net.add("RELU").conv()


@pytest.mark.parametrize("build", [rescaling, read_twice, of_the_input])
def test_activation_stays(build: Callable[[Net], Net], tmp_path: Path) -> None:
    before = build(Net()).graph(tmp_path)
    after = fuse_activations(before)
    assert kinds(after) == kinds(before)
    check(before, after)


def test_reshapes_merge_and_vanish(tmp_path: Path) -> None:
    """Two 1-D convolutions as Keras exports them: squeezed and expanded in between."""
    net = Net((1, 1, 36, 2)).conv().reshape(1, 36, 2).reshape(1, 1, 36, 2).conv()
    before = net.graph(tmp_path)
    after = drop_identities(merge_reshapes(before))
    assert kinds(remove_dead_ops(after)) == ["conv2d", "conv2d"]
    check(before, after)


def test_reshape_before_the_output_vanishes(tmp_path: Path) -> None:
    before = Net().conv().reshape(1, 72).reshape(1, 6, 6, 2).graph(tmp_path)
    after = simplify(before)
    assert kinds(after) == ["conv2d"]
    check(before, after)


def test_requantizations_that_undo_each_other_vanish(tmp_path: Path) -> None:
    net = Net().conv().add("QUANTIZE", zero=131, type="UINT8").add("QUANTIZE").conv()
    before = net.graph(tmp_path)
    after = simplify(before)
    assert kinds(after) == ["conv2d", "conv2d"]
    check(before, after)


def test_requantizations_that_lose_something_stay(tmp_path: Path) -> None:
    net = Net().conv().add("QUANTIZE", scale=0.4).add("QUANTIZE").conv()
    before = net.graph(tmp_path)
    after = simplify(before)
    assert kinds(after) == kinds(before)
    check(before, after)


def test_identities_vanish(tmp_path: Path) -> None:
    net = Net().conv().add("QUANTIZE").pad((0, 0), (0, 0), (0, 0), (0, 0)).reshape(1, 6, 6, 2)
    before = net.conv().graph(tmp_path)
    after = simplify(before)
    assert kinds(after) == ["conv2d", "conv2d"]
    check(before, after)


def test_a_model_of_one_identity_keeps_it(tmp_path: Path) -> None:
    before = Net().reshape(1, 6, 6, 2).graph(tmp_path)
    after = simplify(before)
    assert kinds(after) == ["reshape"]
    check(before, after)


def test_dead_ops_vanish(tmp_path: Path) -> None:
    net = Net().conv()
    kept = net.now
    net.conv().now = kept
    before = net.graph(tmp_path)
    assert kinds(before) == ["conv2d", "conv2d"]
    after = remove_dead_ops(before)
    assert kinds(after) == ["conv2d"]
    assert len(after.pruned().tensors) == 3
    check(before, after)


def test_order_of_passes_does_not_hide_work(tmp_path: Path) -> None:
    """An identity between pad and convolution: what one pass leaves, the next round finds."""
    net = Net().pad(*ROWS_AND_COLUMNS).add("QUANTIZE").conv(VALID).reshape(1, 12, 2).add("RELU")
    before = net.graph(tmp_path)
    after = simplify(before)
    assert kinds(after) == ["conv2d", "reshape"]
    check(before, after)
