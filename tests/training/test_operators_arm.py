"""Gradients and updates on emulated cores, with and without DSP instructions, equal NumPy's.

Every backward and update op of random networks, on values at the ends of their types.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.support.arm_training import ArmTraining
from tests.support.extremes import cases
from tests.support.networks import Network
from tests.support.random_networks import Training, trainings
from tests.support.training_kernels import Sanitized, single_op
from tinykit.codegen import compile_model
from tinykit.ops.registry import operator
from tinykit.training.plan import Plan, Update

pytestmark = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"
)


@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m33"])
def test_operators_equal_numpy(core: str) -> None:
    kernels = ArmTraining(core)
    random = np.random.default_rng(7)
    seen = set()

    @settings(
        deadline=None,
        derandomize=True,
        max_examples=30,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(training=trainings())
    def run(training: Training) -> None:
        for case in cases(training.graph, random):
            seen.add(case.op.kind)
            case.check(*kernels.op_result(case.graph, case.op, case.values, case.step))

    run()
    assert len(seen) >= 10, seen


def test_gradients_by_planes_equal_numpy(sanitized_dsp: Sanitized) -> None:
    """Maps, kernels and strides of all sizes that four channels at a time can have."""
    kernels = ArmTraining("cortex-m4")
    random = np.random.default_rng(3)
    strides, saturated, updates = [], 0, 0
    while len(strides) < 60 or updates < 60:
        height, width, inputs, outputs = (
            int(n) for n in random.integers([1, 1, 4, 4], [9, 9, 10, 12])
        )
        net = Network((1, height, width, inputs), seed=len(strides))
        x = net.conv("x", outputs, (1, 1))
        kernel = (int(random.integers(1, 8)), int(random.integers(2, 8)))
        stride = (int(random.integers(1, 4)), int(random.integers(1, 4)))
        before = (int(random.integers(0, 2 * kernel[0])), int(random.integers(0, 2 * kernel[1])))
        padding = "same" if random.integers(2) else (before[0], kernel[0], before[1], kernel[1])
        x = net.conv(x, 0, kernel, stride, padding=padding, multiplier=1)
        source = net.graph(net.dense(net.mean(x), 2))
        samples = net.inputs(2)
        share = float(random.choice([0.6, 1.0]))
        plan = Plan(update=(Update(layers="all", bias=True), Update(layers=(0,), weights=share)))
        compiled = compile_model(source, name="n", plan=plan, samples=samples, labels=[0, 1])
        assert compiled.train is not None
        for case in cases(compiled.train.graph, random):
            if case.op.kind not in ("depthwise_input_grad", "conv2d_update"):
                continue
            (call,) = operator(case.op.kind).lower(case.graph, case.op)
            assert call.descriptor is not None
            if call.descriptor.fields["planes"]:
                if case.op.kind == "conv2d_update":
                    updates += 1
                else:
                    strides.append(stride)
                    saturated += case.saturations > 0
                arguments = (case.graph, case.op, case.values, case.step)
                case.check(*kernels.op_result(*arguments))
                case.check(*sanitized_dsp.call(single_op, *arguments))
    assert len(set(strides)) == 9
    assert 10 <= saturated <= 80
