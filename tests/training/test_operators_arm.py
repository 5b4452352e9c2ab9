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
from tests.support.random_networks import Training, trainings

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
    assert len(seen) >= 9, seen
