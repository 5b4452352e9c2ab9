"""Operators that move codes equal TensorFlow Lite Micro: NumPy, and C under sanitizers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.ops.test_forward_property import EFFORT, SETTINGS, check
from tests.support.kernels import SanitizedKernels
from tests.support.random_models import SPATIAL, RandomModel, Rule, models, quantize
from tests.support.random_movement import MAPS, MOVEMENT


@pytest.mark.parametrize("rule", MOVEMENT + MAPS, ids=lambda rule: rule.__name__)
def test_movement_equals_tflm(
    rule: Rule, sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    @settings(SETTINGS, max_examples=60 * EFFORT)
    @given(models((rule,), spatial=(*SPATIAL, *MAPS)))
    def run(model: RandomModel) -> None:
        check(model, sanitized_kernels, tmp_path)

    run()


@settings(SETTINGS, max_examples=100 * EFFORT)
@given(model=models((*MOVEMENT, quantize), length=4))
def test_chain_of_movements_equals_tflm(
    sanitized_kernels: SanitizedKernels, tmp_path: Path, model: RandomModel
) -> None:
    check(model, sanitized_kernels, tmp_path)
