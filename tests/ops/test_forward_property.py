"""Random models: the NumPy reference and the C kernels equal TensorFlow Lite Micro, bit for bit.

The C side runs under address and undefined-behaviour sanitizers, every spatial kernel a second
time row by row from a ring buffer that holds no more rows than its window needs.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.support.goldens import tflm
from tests.support.kernels import SanitizedKernels
from tests.support.random_models import RULES, RandomModel, Rule, models
from tests.support.split import split_weights
from tinykit.importers import load_model
from tinykit.ops.evaluate import evaluate
from tinykit.passes import simplify

EFFORT = int(os.environ.get("TINYKIT_FUZZ", "1"))  # times as many models
SETTINGS = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes; add Phase.shrink to debug
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def check(model: RandomModel, kernels: SanitizedKernels, folder: Path) -> None:
    path = folder / "random.tflite"
    path.write_bytes(model.content)
    raw = load_model(path)
    simple = simplify(raw)
    for x in model.inputs:
        expected = tflm(model.content, x)
        for graph in (raw, simple):
            y = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
            np.testing.assert_array_equal(y, expected, "NumPy reference")
        np.testing.assert_array_equal(kernels.run(raw, x), expected, "C")
    np.testing.assert_array_equal(kernels.run(simple, x, rows=True), expected, "C by rows")
    parts = split_weights(simple, np.random.default_rng(len(model.content)))
    y = evaluate(parts, {parts.inputs[0]: x})[parts.outputs[0]]
    np.testing.assert_array_equal(y, expected, "NumPy reference with weights in two blocks")
    for rows in (False, True):
        actual = kernels.run(parts, x, rows=rows)
        np.testing.assert_array_equal(actual, expected, "C with weights in two blocks")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_operator_equals_tflm(
    rule: Rule, sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    @settings(SETTINGS, max_examples=60 * EFFORT)
    @given(models((rule,)))
    def run(model: RandomModel) -> None:
        check(model, sanitized_kernels, tmp_path)

    run()


@settings(SETTINGS, max_examples=150 * EFFORT)
@given(model=models(RULES, length=6))
def test_chain_equals_tflm(
    sanitized_kernels: SanitizedKernels, tmp_path: Path, model: RandomModel
) -> None:
    check(model, sanitized_kernels, tmp_path)
