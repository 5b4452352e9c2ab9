"""Gradients of elementwise and reducing operators: TensorFlow's, and the same bits in C."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support import training_kernels
from tests.support.architectures import squeeze_excite
from tests.support.extremes import cases
from tests.support.networks import Network
from tests.support.training_kernels import Sanitized
from tests.training.test_gradients_tensorflow import EVERYTHING, check
from tinykit.codegen import compile_model
from tinykit.ir import Array, Graph, Tensor
from tinykit.ops.pointwise import OPERATORS as POINTWISE
from tinykit.training.reference import ReferenceTrainer

LOWEST = np.arange(-128, -122, dtype=np.int8)


def layer_norm() -> tuple[Network, str]:
    """As Keras writes it: mean, squared difference, mean, + epsilon, rsqrt, times gamma …"""
    net = Network((1, 6, 10), seed=41)
    x = net.dense("x", 12)
    mean = net.mean(x, (2,), keep_dims=True)
    variance = net.mean(net.binary("squared_difference", x, mean), (2,), keep_dims=True)
    epsilon = net.constant(np.full((1, 1, 1), 0.05), "epsilon")
    scale = net.pointwise("rsqrt", net.add(variance, epsilon))
    random = np.random.default_rng(3)
    gamma = net.constant(random.uniform(0.5, 1.5, 12), "gamma")
    scale = net.binary("mul", scale, gamma)  # [1, 6, 1] times [12]
    beta = net.constant(random.normal(0, 0.3, 12), "beta")
    offset = net.binary("sub", beta, net.binary("mul", mean, scale))
    x = net.add(net.binary("mul", x, scale), offset)
    return net, net.dense(net.flatten(x), 4)


def differences() -> tuple[Network, str]:
    """SUB of what repeats, MINIMUM and MAXIMUM of a tensor with a repeating constant and itself."""
    net = Network((1, 6, 7, 3), seed=42)
    x = net.conv("x", 6)
    column = net.mean(x, (1,), keep_dims=True)
    x = net.binary("sub", net.conv(x, 6, activation="none"), column, "relu")
    x = net.binary("squared_difference", net.conv(x, 6, (1, 1), activation="none"), x)
    quant = net.tensors[x].quant
    for kind, offset in (("maximum", 3), ("minimum", 60)):  # a clamp of codes, for each channel
        limits = Tensor(kind, (6,), "int8", quant, "flash", LOWEST + np.int8(offset))
        net.tensors[kind] = limits
        x = net.binary(kind, x, kind)
    return net, net.dense(net.mean(x), 4)


def attention() -> tuple[Network, str]:
    """Pixels of a row weighed by a SOFTMAX over channels, summed along the row, and squared."""
    net = Network((1, 4, 9, 3), seed=45)
    x = net.conv("x", 6)
    weights = net.softmax(net.conv(x, 6, (1, 1), activation="none"))
    x = net.mean(net.binary("mul", x, weights), (2,), keep_dims=True, kind="sum")
    return net, net.dense(net.flatten(net.binary("mul", x, x)), 4)


def largest() -> tuple[Network, str]:
    """REDUCE_MAX over columns with rows outside them, then over all pixels."""
    net = Network((1, 6, 7, 3), seed=46)
    x = net.conv("x", 8, activation="none")
    column = net.largest(x, (2,), keep_dims=True)
    return net, net.dense(net.largest(net.conv(net.binary("mul", x, column), 8), (1, 2)), 4)


def log_probabilities() -> tuple[Network, str]:
    """LOG_SOFTMAX over channels, on its way."""
    net = Network((1, 4, 5, 3), seed=49)
    x = net.conv(net.conv("x", 8), 6, activation="none")
    return net, net.dense(net.mean(net.conv(net.log_softmax(x), 6, (1, 1))), 4)


def quotients() -> tuple[Network, str]:
    """DIV of a map by another that stays away from 0."""
    net = Network((1, 5, 6, 3), seed=50)
    x = net.conv("x", 6)
    shift = net.constant(np.full((1, 5, 6, 6), 2.0), "shift")
    divisor = net.add(net.conv(x, 6), shift)
    x = net.binary("div", net.conv(x, 6, activation="none"), divisor)
    return net, net.dense(net.mean(net.conv(x, 6, (1, 1))), 4)


def prelu() -> tuple[Network, str]:
    """One slope for each channel, below 0 and above."""
    net = Network((1, 6, 7, 3), seed=47)
    x = net.conv("x", 6, activation="none")
    slopes = net.constant(np.random.default_rng(4).normal(0.1, 0.4, (1, 1, 6)), "slopes")
    x = net.conv(net.binary("prelu", x, slopes), 6, activation="none")
    return net, net.dense(net.mean(x), 4)


def resized() -> tuple[Network, str]:
    """Twice as large by half pixels, down with aligned corners, and twice as large from corners."""
    net = Network((1, 5, 5, 3), seed=48)
    x = net.resize(net.conv("x", 5), (10, 10), half=True)
    x = net.resize(net.conv(x, 5, stride=(2, 2)), (3, 3), align=True)
    x = net.resize(net.conv(x, 5), (6, 6))
    return net, net.dense(net.mean(net.conv(x, 6)), 4)


def functions(kind: str) -> tuple[Network, str]:
    net = Network((1, 7, 6, 3), seed=43)
    x = net.conv("x", 6, activation="relu" if kind == "rsqrt" else "none")
    if kind == "rsqrt":
        x = net.add(x, net.constant(np.full(6, 0.4), "positive"))
    x = net.pointwise(kind, x, {"leaky_relu": 0.2, "gelu": 1.0}.get(kind, 0.0))
    return net, net.dense(net.mean(net.conv(x, 6, (1, 1))), 4)


def training(net: Network, output: str) -> tuple[Graph, Array]:
    """The calibrated training graph, all layers trained, and two samples it has not seen."""
    samples = net.inputs(14)
    compiled = compile_model(
        net.graph(output), name="net", plan=EVERYTHING, samples=samples[:12],
        labels=[i % 4 for i in range(12)],
    )  # fmt: skip
    assert compiled.train is not None
    return compiled.train.graph, samples[12:]


ALL = (squeeze_excite, layer_norm, differences, attention, largest, prelu, resized,
       log_probabilities, quotients)  # fmt: skip
NETWORKS = {f.__name__: f for f in ALL} | {
    op.kind: (lambda kind=op.kind: functions(kind)) for op in POINTWISE
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_equal_tensorflows(name: str) -> None:
    check(*training(*NETWORKS[name]()))


@pytest.mark.parametrize("name", NETWORKS)
def test_three_steps_and_extremes_are_equal_in_c(
    name: str, sanitized: Sanitized, sanitized_dsp: Sanitized
) -> None:
    graph, samples = training(*NETWORKS[name]())
    own = {
        "lookup_grad",
        "linear_grad",
        "softmax_grad",
        "max_pool_grad",
        "resize_bilinear_grad",
        "log_softmax_grad",
    }
    steps = [(samples[i % 2], i, False) for i in range(3)]
    for worker in (sanitized, sanitized_dsp):
        history = worker.call(training_kernels.train, graph, EVERYTHING.optimizer, steps)
        reference = ReferenceTrainer(graph, EVERYTHING.optimizer)
        for (sample, label, _), (answer, parameters) in zip(steps, history, strict=True):
            step = reference.step(sample, label)
            assert answer.status == 0
            assert np.float32(answer.loss) == np.float32(step.loss)
            assert answer.saturations == reference.saturations
            for key, value in parameters.items():
                np.testing.assert_array_equal(value, reference.parameters[key], key)
        random, kinds = np.random.default_rng(5), set()
        for _ in range(4):
            for case in cases(graph, random):
                kinds.add(case.op.kind)
                arguments = (case.graph, case.op, case.values, case.step)
                case.check(*worker.call(training_kernels.single_op, *arguments))
        assert kinds & own == {op.kind for op in graph.ops} & own != set()
