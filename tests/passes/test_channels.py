"""Channels that say nothing, or what another says: gone, and every output bit as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.support.goldens import tflm
from tests.support.kernels import SanitizedKernels
from tests.support.planted import plant
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
    relu,
    reshape,
)
from tests.support.tflite_writer import Graph as File
from tests.support.tflite_writer import write
from tinykit.importers import load_model
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import evaluate
from tinykit.ops.registry import operator
from tinykit.passes import shrink, simplify
from tinykit.passes.fold_channels import fold_channels
from tinykit.passes.merge_channels import merge_channels

RANDOM = np.random.default_rng(11)
EFFORT = int(os.environ.get("TINYKIT_FUZZ", "1"))  # times as many random models
NOTHING: frozenset[str] = frozenset()
INT32 = np.iinfo(np.int32)


def macs(graph: Graph) -> int:
    return sum(operator(op.kind).cost(graph, op).macs for op in graph.ops)


def outputs(graph: Graph, x: Array) -> Array:
    return evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]


@dataclass
class Layers:
    """A file under construction: layers with weights that a test chooses."""

    file: File
    now: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Layers:
        file = File()
        file.inputs = [file.tensor(shape, 0.05, -3)]
        return cls(file, file.inputs[0])

    def layer(
        self,
        builtin: str,
        weights: Array,
        bias: Array | None = None,
        zero: int = -128,
        padding: int = 0,
        activation: int = 0,
    ) -> Layers:
        """Stride 1; padding 0 is SAME, 1 VALID; activation 1 is RELU."""
        dense = builtin == "FULLY_CONNECTED"
        depthwise = builtin == "DEPTHWISE_CONV_2D"
        axis = 3 if depthwise else 0
        shape = list(self.file.tensors[self.now].shape)
        if padding == 1 and not dense:
            shape[1:3] = [n - k + 1 for n, k in zip(shape[1:3], weights.shape[1:3], strict=True)]
        shape[-1] = weights.shape[axis]
        scale = self.file.tensors[self.now].scale[0]
        w = self.file.constant(weights.astype(np.int8), (0.01,) * shape[-1], axis=axis)
        inputs = [self.now, w]
        if bias is not None:
            steps = (float(np.float32(scale * 0.01)),) * shape[-1]
            inputs.append(self.file.constant(bias.astype(np.int32), steps))
        elif not depthwise:
            inputs.append(-1)
        y = self.file.tensor(tuple(shape), 0.08, zero)
        options: dict[str, float | int] = {"FusedActivationFunction": activation}
        if not dense:
            options |= {"Padding": padding, "StrideH": 1, "StrideW": 1}
        if depthwise:
            options["DepthMultiplier"] = 1
        self.now = self.file.operator(builtin, inputs, y, options, 3)
        return self

    def add(self, other: int) -> Layers:
        y = self.file.tensor(self.file.tensors[self.now].shape, 0.1, -5)
        self.now = self.file.operator("ADD", [self.now, other], y, {}, 2)
        return self

    def check(self, run: Callable[[Graph], Graph], folder: Path) -> tuple[Graph, Graph]:
        """(before, after) of a pass; both equal TFLM on random inputs."""
        self.file.outputs = [self.now]
        content = write(self.file)
        path = folder / "net.tflite"
        path.write_bytes(content)
        before = load_model(path)
        after = run(before)
        for _ in range(4):
            x = RANDOM.integers(-128, 128, before[before.inputs[0]].shape).astype(np.int8)
            expected = tflm(content, x)
            np.testing.assert_array_equal(outputs(before, x), expected)
            np.testing.assert_array_equal(outputs(after, x), expected)
        return before, after


def fold(graph: Graph) -> Graph:
    return fold_channels(graph, NOTHING).pruned()


def merge(graph: Graph) -> Graph:
    return merge_channels(graph, NOTHING).pruned()


def random_weights(*shape: int) -> Array:
    return RANDOM.integers(-127, 128, shape)


def channels(graph: Graph) -> list[int]:
    """Output channels of each op."""
    return [graph[op.outputs[0]].shape[-1] for op in graph.ops]


def dead(weights: Array, *channels: int, axis: int = 0) -> Array:
    np.moveaxis(weights, axis, 0)[list(channels)] = 0
    return weights


def test_constant_moves_into_the_bias_behind(tmp_path: Path) -> None:
    net = Layers.of((1, 5, 5, 3))
    net.layer("CONV_2D", dead(random_weights(6, 3, 3, 3), 1, 4), np.arange(6) * 900, 7)
    net.layer("CONV_2D", random_weights(4, 3, 3, 6), np.arange(4) * 50, padding=1)
    before, after = net.check(fold, tmp_path)
    assert (channels(before), channels(after)) == ([6, 4], [4, 4])
    assert macs(after) < macs(before)


def test_a_bias_is_made_where_there_is_none(tmp_path: Path) -> None:
    net = Layers.of((1, 4, 4, 3))
    net.layer("CONV_2D", dead(random_weights(3, 1, 1, 3), 0), np.array([900, 0, 0]))
    net.layer("CONV_2D", random_weights(4, 1, 1, 3))
    before, after = net.check(fold, tmp_path)
    assert before.ops[1].inputs[2] == ""
    assert after[after.ops[1].inputs[2]].dtype == "int32"
    assert channels(after) == [2, 4]


def test_constant_in_front_of_padding_stays(tmp_path: Path) -> None:
    """Borders see the zero point where the inside sees the constant."""
    net = Layers.of((1, 5, 5, 3))
    net.layer("CONV_2D", dead(random_weights(6, 1, 1, 3), 1), np.full(6, 900), 7)
    net.layer("CONV_2D", random_weights(4, 3, 3, 6))
    _, after = net.check(fold, tmp_path)
    assert channels(after) == [6, 4]


def test_zero_point_in_front_of_padding_goes(tmp_path: Path) -> None:
    net = Layers.of((1, 5, 5, 3))
    net.layer("CONV_2D", dead(random_weights(6, 1, 1, 3), 1), None, 7)
    net.layer("CONV_2D", random_weights(4, 3, 3, 6))
    _, after = net.check(fold, tmp_path)
    assert channels(after) == [5, 4]


def test_borders_that_no_weight_sees_do_not_count(tmp_path: Path) -> None:
    """A padded 3x3 kernel of which only the middle reads the constant."""
    net = Layers.of((1, 5, 5, 3))
    net.layer("CONV_2D", dead(random_weights(6, 1, 1, 3), 1), np.full(6, 900), 7)
    weights = random_weights(4, 3, 3, 6)
    weights[..., 1] = 0
    weights[:, 1, 1, 1] = 55
    net.layer("CONV_2D", weights)
    _, after = net.check(fold, tmp_path)
    assert channels(after) == [5, 4]


def test_constants_flow_through_depthwise_layers(tmp_path: Path) -> None:
    """At the borders the depthwise layer's clamp hides the padding: still constant."""
    net = Layers.of((1, 5, 5, 3))
    net.layer("CONV_2D", dead(random_weights(6, 1, 1, 3), 1), np.full(6, 900), 7)
    weights = random_weights(1, 3, 3, 6)
    weights[..., 1] = np.abs(weights[..., 1]) + 1
    bias = np.zeros(6)
    bias[1] = -(2**20)
    net.layer("DEPTHWISE_CONV_2D", weights, bias, activation=1)
    net.layer("CONV_2D", random_weights(4, 1, 1, 6))
    _, after = net.check(fold, tmp_path)
    assert channels(after) == [5, 5, 4]


def test_a_depthwise_layer_that_ignores_its_input_frees_it(tmp_path: Path) -> None:
    net = Layers.of((1, 5, 5, 3))
    net.layer("CONV_2D", random_weights(6, 1, 1, 3), np.arange(6))
    net.layer("DEPTHWISE_CONV_2D", dead(random_weights(1, 3, 3, 6), 2, 3, axis=3), np.full(6, 700))
    net.layer("CONV_2D", random_weights(4, 1, 1, 6), np.arange(4))
    _, after = net.check(fold, tmp_path)
    assert channels(after) == [4, 4, 4]


@pytest.mark.parametrize("bias", [-(2**21), 2**21, INT32.min, INT32.max])
def test_a_clamp_that_always_acts_makes_a_constant(bias: int, tmp_path: Path) -> None:
    """Alive weights, but sums whose exact bounds end in one code; saturated biases wrap."""
    net = Layers.of((1, 4, 4, 3))
    weights, terms = random_weights(4, 1, 1, 3), np.zeros(4)
    weights[2] = [90, 0, 0]  # x >= zero point - 125: some sums wrap past INT32_MIN or MAX
    terms[2] = bias
    net.layer("CONV_2D", weights, terms, 10)
    net.layer("CONV_2D", random_weights(4, 1, 1, 4))
    _, after = net.check(fold, tmp_path)
    wraps = bias in (INT32.min, INT32.max)
    assert channels(after) == [4 if wraps else 3, 4]


def test_channels_that_nobody_weighs_go_and_those_before_them(tmp_path: Path) -> None:
    net = Layers.of((1, 4, 4, 3))
    net.layer("CONV_2D", random_weights(6, 3, 3, 3), np.arange(6), 3)
    middle = random_weights(5, 1, 1, 6)
    middle[:3, ..., 2] = 0  # only channels 3 and 4 read it, and those go first
    net.layer("CONV_2D", middle, np.arange(5), 3)
    net.layer("CONV_2D", dead(random_weights(4, 1, 1, 5), 3, 4, axis=3), None, 3)
    _, after = net.check(fold, tmp_path)
    assert channels(after) == [5, 3, 4]


def test_channels_of_an_add_go_together(tmp_path: Path) -> None:
    """Channel 1 is constant in both addends, channel 2 in one of them only."""
    net = Layers.of((1, 4, 4, 3))
    net.layer("CONV_2D", dead(random_weights(4, 1, 1, 3), 1, 2), np.full(4, 800))
    left = net.now
    net.now = net.file.inputs[0]
    net.layer("CONV_2D", dead(random_weights(4, 1, 1, 3), 1), np.full(4, -300), 0)
    net.add(left)
    net.layer("CONV_2D", random_weights(2, 1, 1, 4))
    _, after = net.check(fold, tmp_path)
    assert channels(after) == [3, 3, 3, 2]


def test_outputs_keep_their_channels(tmp_path: Path) -> None:
    net = Layers.of((1, 6))
    net.layer("FULLY_CONNECTED", dead(random_weights(5, 6), 0, 3), np.arange(5) * 100)
    _, after = net.check(fold, tmp_path)
    assert channels(after) == [5]


def test_a_layer_keeps_a_channel(tmp_path: Path) -> None:
    net = Layers.of((1, 4, 4, 3))
    net.layer("CONV_2D", np.zeros((6, 1, 1, 3)), np.arange(6) * 100)
    net.layer("CONV_2D", random_weights(4, 1, 1, 6))
    _, after = net.check(fold, tmp_path)
    assert channels(after) == [1, 4]


def test_a_dense_layer_with_scales_per_channel_keeps_two(tmp_path: Path) -> None:
    """One scale would make TFLM round the multiplier as for a per-tensor layer."""
    net = Layers.of((1, 6))
    net.layer("FULLY_CONNECTED", dead(random_weights(5, 6), 0, 1, 2, 4), np.arange(5) * 100)
    net.layer("FULLY_CONNECTED", random_weights(4, 5))
    _, after = net.check(fold, tmp_path)
    assert channels(after) == [2, 4]


def test_weights_that_layers_share_stay_for_the_others(tmp_path: Path) -> None:
    net = Layers.of((1, 4, 4, 3))
    net.layer("CONV_2D", dead(random_weights(3, 1, 1, 3), 1), np.full(3, 500))
    shared = net.file.operators[0].inputs[1:]
    y = net.file.tensor((1, 4, 4, 3), 0.08, -128)
    options: dict[str, float | int] = {"StrideH": 1, "StrideW": 1}
    net.now = net.file.operator("CONV_2D", [net.now, *shared], y, options, 3)
    _, after = net.check(fold, tmp_path)
    assert channels(after) == [2, 3]


def equal(weights: Array, first: int, second: int, axis: int = 0) -> Array:
    moved = np.moveaxis(weights, axis, 0)
    moved[second] = moved[first]
    return weights


def test_equal_channels_merge(tmp_path: Path) -> None:
    """Through a depthwise layer and its padding as well, if it treats them alike."""
    net = Layers.of((1, 5, 5, 3))
    net.layer("CONV_2D", equal(random_weights(6, 3, 3, 3), 1, 4), np.array([1, 9, 3, 4, 9, 6]))
    net.layer("DEPTHWISE_CONV_2D", equal(random_weights(1, 3, 3, 6), 1, 4, 3), np.full(6, 7), 20)
    net.layer("CONV_2D", random_weights(4, 3, 3, 6) // 2)
    before, after = net.check(merge, tmp_path)
    assert (channels(before), channels(after)) == ([6, 6, 4], [5, 5, 4])


def test_more_than_two_equal_channels_merge(tmp_path: Path) -> None:
    net = Layers.of((1, 6))
    net.layer("FULLY_CONNECTED", np.repeat(random_weights(2, 6), 3, axis=0), np.full(6, 5))
    net.layer("FULLY_CONNECTED", random_weights(4, 6) // 3)
    _, after = net.check(merge, tmp_path)
    assert channels(after) == [2, 4]


def other_bias(net: Layers) -> None:
    net.layer("CONV_2D", equal(random_weights(6, 3, 3, 3), 1, 4), np.arange(6))
    net.layer("CONV_2D", random_weights(4, 1, 1, 6) // 2)


def other_depthwise(net: Layers) -> None:
    net.layer("CONV_2D", equal(random_weights(6, 3, 3, 3), 1, 4))
    net.layer("DEPTHWISE_CONV_2D", random_weights(1, 3, 3, 6))
    net.layer("CONV_2D", random_weights(4, 1, 1, 6) // 2)


def too_large(net: Layers) -> None:
    net.layer("CONV_2D", equal(random_weights(6, 3, 3, 3), 1, 4))
    weights = random_weights(4, 1, 1, 6)
    weights[2, ..., [1, 4]] = 64
    net.layer("CONV_2D", weights)


@pytest.mark.parametrize("build", [other_bias, other_depthwise, too_large])
def test_other_channels_do_not_merge(build: Callable[[Layers], None], tmp_path: Path) -> None:
    net = Layers.of((1, 5, 5, 3))
    build(net)
    before, after = net.check(merge, tmp_path)
    assert channels(before) == channels(after)


OTHERS: tuple[Rule, ...] = (average_pool2d, max_pool2d, mean, pad, add, quantize, relu, reshape)
RULES: tuple[Rule, ...] = (conv2d, depthwise_conv2d, fully_connected) * 4 + OTHERS


def test_random_models_equal_tflm(sanitized_kernels: SanitizedKernels, tmp_path: Path) -> None:
    """Chains with planted dead, constant, clamped and equal channels; many do shrink."""
    found = {"all": 0, "folded": 0, "merged": 0}

    @settings(
        deadline=None,
        derandomize=True,
        max_examples=150 * EFFORT,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(model=models(RULES, length=6, change=plant))
    def run(model: RandomModel) -> None:
        path = tmp_path / "random.tflite"
        path.write_bytes(model.content)
        simple = simplify(load_model(path))
        small = shrink(simple)
        for x in model.inputs:
            expected = tflm(model.content, x)
            np.testing.assert_array_equal(outputs(simple, x), expected, "before")
            np.testing.assert_array_equal(outputs(small, x), expected, "after")
        np.testing.assert_array_equal(sanitized_kernels.run(small, x), expected, "C")
        found["all"] += 1
        found["folded"] += macs(fold(simple)) < macs(simple)
        found["merged"] += macs(merge(simple)) < macs(simple)

    run()
    assert found["folded"] > found["all"] / 5
    assert found["merged"] > found["all"] / 50
