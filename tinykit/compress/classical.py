"""Quantization of a fitted scikit-learn estimator, with a report of what it cost."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinykit.compress.quantize import QuantizationReport
from tinykit.data import Coding, Samples
from tinykit.errors import ModelError
from tinykit.importers.graph_file import save_graph
from tinykit.importers.sklearn import (
    checked_samples,
    load_sklearn,
    open_estimator,
    predictions,
)
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import evaluate
from tinykit.passes import shrink, simplify

CLOSE = 1.5  # steps of the output within which a regression counts as the same


def quantize_estimator(
    path: Path,
    samples: npt.ArrayLike,
    out: Path,
    *,
    test: tuple[npt.ArrayLike, npt.ArrayLike | None],
    unpickle: bool = False,
) -> QuantizationReport:
    """Write the graph of the estimator in `path` to `out`, and say what it lost.

    `samples` [n, F] set the ranges; agreement and, with class numbers, accuracies are measured on
    `test`, a pair (x, y).  Raises ModelError, UsageError (see open_estimator), TinykitError.
    """
    try:
        estimator = open_estimator(path, unpickle)
        calibration = checked_samples(estimator, samples)
        graph = load_sklearn(estimator, calibration, path.stem)
        x = checked_samples(estimator, test[0])
    except ModelError as error:
        prefix = "" if error.message.startswith(str(path)) else f"{path}: "
        raise ModelError(f"{prefix}{error.message}", error.hint) from None
    save_graph(graph, out)
    expected = predictions(estimator, x)
    found = int8_outputs(graph, x)
    y = None if test[1] is None else np.asarray(test[1]).reshape(-1)
    if expected.ndim == 1:
        predicted = classes_of(graph, found)
        agreement = float(np.mean(predicted == expected))
    else:
        step = graph[graph.outputs[0]].quant.scale0
        agreement = float(np.mean(np.abs(found - expected) <= CLOSE * step))
        y = None
    return QuantizationReport(
        out=out,
        bytes_float=path.stat().st_size,
        bytes_int8=sum(tensor.bytes for tensor in graph.tensors.values() if tensor.constant),
        samples=len(calibration),
        layers=(),
        agreement=agreement,
        accuracy_float=None if y is None else float(np.mean(expected == y)),
        accuracy_int8=None if y is None else float(np.mean(predicted == y)),
        evaluated=len(x),
    )


def int8_outputs(graph: Graph, x: Array) -> Array:
    """Outputs [n, outputs] of the NumPy reference for real rows [n, F], in real units."""
    graph = shrink(simplify(graph))
    port, y = graph[graph.inputs[0]], graph[graph.outputs[0]]
    codes = Samples(x.astype(np.float32), None, "samples").quantized([Coding.of(port)])
    rows = [evaluate(graph, {port.name: row})[y.name].reshape(-1) for row in codes]
    return (np.array(rows, np.float64) - y.quant.zero_point0) * y.quant.scale0


def classes_of(graph: Graph, outputs: Array) -> Array:
    """The class numbers [n] that outputs [n, outputs] stand for, as a device counts them."""
    if outputs.shape[1] > 1:
        return np.asarray(outputs.argmax(axis=1))
    probability = math.isclose(graph[graph.outputs[0]].quant.scale0, 1 / 256)
    return np.asarray(outputs[:, 0] > (0.5 if probability else 0.0), np.int64)
