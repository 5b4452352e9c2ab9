"""Functions of one code equal TensorFlow Lite Micro for all 256 of them, at any quantization.

EXP and GELU, which TFLM does not have for int8, equal TensorFlow Lite's reference kernels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.goldens import tflite_reference, tflm
from tests.support.kernels import SanitizedKernels
from tests.support.tflite_writer import Graph as File
from tests.support.tflite_writer import write
from tinykit.errors import ModelError
from tinykit.importers import load_model
from tinykit.importers.float_islands import FLOAT
from tinykit.ir import Graph
from tinykit.ops.evaluate import evaluate
from tinykit.ops.pointwise import OPERATORS
from tinykit.ops.registry import operator

CODES = np.arange(-128, 128, dtype=np.int8)[None]
FIXED = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
Quant = tuple[float, int]


def model(
    builtin: str, x: Quant, y: Quant, options: dict[str, float | int], folder: Path
) -> tuple[bytes, Graph]:
    file = File()
    source = file.tensor(CODES.shape, *x)
    file.inputs = [source]
    output = file.tensor(CODES.shape, *y)
    if builtin in FLOAT:
        real = [file.tensor(CODES.shape, None, type="FLOAT32") for _ in range(2)]
        file.operator("DEQUANTIZE", [source], real[0], None, 2)
        file.operator(builtin, [real[0]], real[1], options)
        file.outputs = [file.operator("QUANTIZE", [real[1]], output, None, 2)]
    else:
        file.outputs = [file.operator(builtin, [source], output, options)]
    content = write(file)
    (folder / "model.tflite").write_bytes(content)
    return content, load_model(folder / "model.tflite")


def draw(builtin: str, random: np.random.Generator) -> tuple[Quant, Quant, dict[str, float | int]]:
    """Scales over five decades, zero points often at their ends."""
    scales = np.float32(10.0 ** random.uniform(-4, 1, 2))
    zeros = [int(random.choice([-128, 127, 0, random.integers(-128, 128)])) for _ in scales]
    options: dict[str, float | int] = {}
    if builtin == "LEAKY_RELU":
        options["Alpha"] = float(np.float32(random.choice([0.1, 0.3, -0.5, random.uniform(-2, 2)])))
    if builtin == "GELU":
        options["Approximate"] = int(random.integers(2))
    if random.integers(3) == 0:  # alike, or so that odd codes fall right between two others
        scales[1] = scales[0] / random.choice(np.float32([1, 1.5, 0.5, 0.75]))
    if builtin == "HARD_SWISH":
        scales[1] = np.float32(scales[0] * 2.0 ** random.uniform(-6.9, 7.9))
    y = FIXED.get(builtin, (float(scales[1]), zeros[1]))
    return (float(scales[0]), zeros[0]), y, options


@pytest.mark.parametrize("builtin", [name for op in OPERATORS for name in op.tflite])
def test_all_codes_equal_tensorflow_lites(
    builtin: str, sanitized_kernels: SanitizedKernels, tmp_path: Path
) -> None:
    random = np.random.default_rng(len(builtin))
    runs = []
    for _ in range(60):
        x, y, options = draw(builtin, random)
        if builtin == "EXP" and x[0] * (127 - x[1]) > np.log(2.0**30 * y[0]):
            continue  # the reference kernel converts a float beyond int32
        content, graph = model(builtin, x, y, options, tmp_path)
        codes = np.maximum(CODES, x[1]).astype(np.int8) if builtin == "RSQRT" else CODES
        result = evaluate(graph, {graph.inputs[0]: codes})[graph.outputs[0]]
        runs.append((content, codes, result))
        if len(runs) <= 5:
            np.testing.assert_array_equal(sanitized_kernels.run(graph, codes), result, "C")
    assert len(runs) > 25
    if builtin in ("EXP", "GELU"):
        goldens = tflite_reference([(content, codes) for content, codes, _ in runs])
    else:
        goldens = [tflm(content, codes) for content, codes, _ in runs]
    for (_, _, result), golden in zip(runs, goldens, strict=True):
        np.testing.assert_array_equal(result, golden)


@pytest.mark.parametrize("kind", [op.kind for op in OPERATORS])
def test_rows_are_a_lookup_of_one_row(kind: str, tmp_path: Path) -> None:
    file = File()
    x = file.tensor((1, 4, 3, 5), 0.1, -128)
    quant = FIXED.get(kind.upper(), (0.1, -128))
    y = file.tensor((1, 4, 3, 5), *quant)
    file.inputs, file.outputs = [x], [file.operator(kind.upper(), [x], y)]
    (tmp_path / "model.tflite").write_bytes(write(file))
    graph = load_model(tmp_path / "model.tflite")
    (op,) = graph.ops
    form, (whole,) = operator(kind).rows(graph, op), operator(kind).lower(graph, op)
    assert form is not None
    assert form.steps == 4
    assert form.call.descriptor is not None
    assert form.call.function == whole.function
    assert form.call.descriptor.fields["size"] == 15


@pytest.mark.parametrize(
    ("builtin", "x", "y", "message"),
    [
        ("LOGISTIC", (0.1, 0), (1 / 255, -128), "supported is 0.00390625/-128"),
        ("TANH", (0.1, 0), (1 / 128, 1), "supported is 0.0078125/0"),
        ("HARD_SWISH", (1.0, 0), (0.001, 0), "out of range"),
        ("LEAKY_RELU", (1.0, 0), (1.0, 0), "alpha is inf"),
        ("SQRT", (1.0, 0), (1.0, 0), "not supported"),
    ],
)
def test_what_is_refused(builtin: str, x: Quant, y: Quant, message: str, tmp_path: Path) -> None:
    options: dict[str, float | int] = {"Alpha": np.inf} if builtin == "LEAKY_RELU" else {}
    with pytest.raises(ModelError, match=f"{builtin} #0") as caught:
        model(builtin, x, y, options, tmp_path)
    assert message in caught.value.message
