"""MINIMUM and MAXIMUM do not clamp, so a RELU behind them stays (the fuzzer's graph 40668)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.kernels import SanitizedKernels
from tests.support.networks import Network
from tinykit.ops.evaluate import evaluate
from tinykit.passes import simplify


@pytest.mark.parametrize("kind", ["minimum", "maximum"])
def test_a_relu_behind_it_still_clamps(kind: str, sanitized_kernels: SanitizedKernels) -> None:
    net = Network((1, 3, 4, 5), input_zero_point=90)
    least = net.binary(kind, "x", "x")
    graph = net.graph(net.relu(least, "relu"))
    output = replace(graph[graph.outputs[0]], quantization=graph[least].quant)
    graph = graph.with_tensors([output])
    simple = simplify(graph)
    assert [op.kind for op in simple.ops] == [kind, "relu"]
    x = net.inputs(1)[0]
    expected = evaluate(graph, {"x": x})[graph.outputs[0]]
    assert (expected >= 90).all()
    np.testing.assert_array_equal(sanitized_kernels.run(simple, x), expected)
