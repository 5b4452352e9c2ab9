"""BATCH_MATMUL equals TensorFlow Lite Micro: NumPy, and C under sanitizers."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings

from tests.ops.test_forward_property import EFFORT, SETTINGS, check
from tests.support.kernels import SanitizedKernels
from tests.support.random_models import RandomModel, models
from tests.support.random_products import batch_matmul


@settings(SETTINGS, max_examples=120 * EFFORT)
@given(model=models((batch_matmul,)))
def test_products_equal_tflm(
    sanitized_kernels: SanitizedKernels, tmp_path: Path, model: RandomModel
) -> None:
    check(model, sanitized_kernels, tmp_path)
