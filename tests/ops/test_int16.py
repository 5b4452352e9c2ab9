"""int16x8 equals TensorFlow Lite Micro: NumPy, and C under sanitizers, whole and row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from tests.ops.test_forward_property import EFFORT, SETTINGS
from tests.support.goldens import tflm
from tests.support.int16_models import RULES, int16_models
from tests.support.kernels import SanitizedKernels
from tests.support.random_models import RandomModel, Rule
from tinykit.importers import load_model
from tinykit.ops.evaluate import evaluate
from tinykit.passes import shrink, simplify


def check(model: RandomModel, kernels: SanitizedKernels, folder: Path) -> None:
    path = folder / "random.tflite"
    path.write_bytes(model.content)
    raw = load_model(path)
    simple = shrink(simplify(raw))
    for x in model.inputs:
        expected = tflm(model.content, x)
        for graph in (raw, simple):
            y = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
            np.testing.assert_array_equal(y, expected, "NumPy reference")
        np.testing.assert_array_equal(kernels.run(raw, x), expected, "C")
    np.testing.assert_array_equal(kernels.run(simple, x, rows=True), expected, "C by rows")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_operator_equals_tflm(
    rule: Rule, sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    @settings(SETTINGS, max_examples=40 * EFFORT)
    @given(int16_models((rule,)))
    def run(model: RandomModel) -> None:
        check(model, sanitized_kernels, tmp_path)

    run()


@settings(SETTINGS, max_examples=80 * EFFORT)
@given(model=int16_models(length=6))
def test_chain_equals_tflm(
    sanitized_kernels: SanitizedKernels, tmp_path: Path, model: RandomModel
) -> None:
    check(model, sanitized_kernels, tmp_path)
