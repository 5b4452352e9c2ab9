"""Neighbours, centroids and RBF support vector machines: distances to stored rows.

One scale serves all features, so distances in codes are distances in the estimator's own metric.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinykit.importers.classical import linear
from tinykit.importers.classical.builder import (
    POSITIVE,
    PROBABILITY,
    Builder,
    Refusal,
    Values,
    regression,
    symmetric,
)
from tinykit.ir import Array, Quantization
from tinykit.ops.nearest import NearestAttributes
from tinykit.ops.radial import ONE, RadialAttributes

WEIGHT = 32767  # the largest int16 weight
KERNELS = ("linear", "rbf")


def neighbours(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """KNeighborsClassifier: the share of the k nearest samples that each class has."""
    refuse.require(estimator.weights == "uniform", "weights", estimator.weights, "'uniform'")
    metric = estimator.effective_metric_
    refuse.require(metric == "euclidean", "metric", metric, "Euclidean ('minkowski' with p=2)")
    k, rows, labels = estimator.n_neighbors, estimator._fit_X, np.asarray(estimator._y)
    return _nearest(build, values, rows, labels, k, len(estimator.classes_), refuse)


def centroids(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """NearestCentroid: one for the nearest class, zero for the others."""
    refuse.require(estimator.metric == "euclidean", "metric", estimator.metric, "'euclidean'")
    priors = getattr(estimator, "priors", "uniform")
    refuse.require(isinstance(priors, str) and priors == "uniform", "priors", priors, "'uniform'")
    rows = estimator.centroids_
    return _nearest(build, values, rows, np.arange(len(rows)), 1, len(rows), refuse)


def clusters(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """KMeans: one for the nearest cluster, zero for the others."""
    rows = estimator.cluster_centers_
    return _nearest(build, values, rows, np.arange(len(rows)), 1, len(rows), refuse)


def _nearest(
    build: Builder, values: Values, rows: Array, labels: Array, k: int, classes: int,
    refuse: Refusal,
) -> str:  # fmt: skip
    refuse.require(isinstance(rows, np.ndarray), "training data", type(rows).__name__, "dense")
    refuse.require(classes <= 256, "classes", classes, "up to 256")
    inputs = (
        values.name,
        build.constant("nearest/rows", values.codes(rows)),
        build.constant("nearest/labels", labels.reshape(-1).astype(np.uint8)),
    )
    attributes = NearestAttributes(int(k), classes)
    return build.operation("nearest", inputs, classes, PROBABILITY, attributes)


def svc(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """SVC, NuSVC: one decision for two classes, else the votes of all pairs."""
    _check_kernel(estimator, refuse)
    refuse.require(not estimator.break_ties, "break_ties", True, "False")
    if estimator.kernel == "linear":
        return linear.linear_svc(build, estimator, values, refuse)
    classes = len(estimator.classes_)
    decisions = _decisions(estimator, values.samples)
    refuse.require(decisions.shape[1] <= 256, "classes", classes, "up to 23")
    if classes == 2:
        return _machine(build, estimator, values, decisions, symmetric(decisions), True)
    pairs = np.zeros((classes, classes), np.int64)
    pairs[np.triu_indices(classes, 1)] = np.arange(decisions.shape[1])
    pairs = pairs + pairs.T
    others = [[other for other in range(classes) if other != own] for own in range(classes)]
    output = np.array([[pairs[own, other] for other in row] for own, row in enumerate(others)])
    made = _radial(
        build, estimator, values, estimator.n_support_, output, symmetric(decisions), True
    )
    return linear.votes(build, made, estimator.classes_)


def svr(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """SVR, NuSVR."""
    _check_kernel(estimator, refuse)
    if estimator.kernel == "linear":
        return linear.regressor(build, estimator, values, refuse)
    predictions = estimator.predict(values.samples)[:, None]
    return _machine(build, estimator, values, predictions, regression(predictions), False)


def one_class(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """OneClassSVM: above 0 for what is like the training samples."""
    refuse.require(estimator.kernel == "rbf", "kernel", estimator.kernel, "'rbf'")
    decisions = estimator.decision_function(values.samples)[:, None]
    return _machine(build, estimator, values, decisions, symmetric(decisions), True)


def _check_kernel(estimator: Any, refuse: Refusal) -> None:
    kernel = estimator.kernel
    refuse.require(kernel in KERNELS, "kernel", kernel, " and ".join(map(repr, KERNELS)))


def _decisions(estimator: Any, samples: Array) -> Array:
    """One-versus-one decisions [n, pairs], from what libsvm keeps."""
    shape = estimator.decision_function_shape
    estimator.decision_function_shape = "ovo"
    try:
        return np.asarray(estimator.decision_function(samples)).reshape(len(samples), -1)
    finally:
        estimator.decision_function_shape = shape


def _machine(
    build: Builder, estimator: Any, values: Values, found: Array, quantization: Quantization,
    decides: bool,
) -> str:  # fmt: skip
    """A single sum over all support vectors."""
    members, output = np.array([len(estimator.support_vectors_)]), np.zeros((1, 1), np.int64)
    return _radial(build, estimator, values, members, output, quantization, decides)


def _radial(
    build: Builder,
    estimator: Any,
    values: Values,
    members: Array,
    output: Array,
    quantization: Quantization,
    decides: bool,
) -> str:
    weights = np.asarray(estimator.dual_coef_, np.float64).T
    start = np.asarray(estimator.intercept_, np.float64) + decides * POSITIVE * quantization.scale0
    scale = np.abs(weights).max() / WEIGHT
    unit, down = scale * 2.0**-ONE, 0
    codes = np.rint(weights / scale).astype(np.int16)
    most = (np.abs(codes.astype(np.int64)) << ONE).sum() + np.abs(start).max() / unit
    while most / 2**down + codes.size + 2 >= 2**31:
        down += 1
    gamma = float(estimator._gamma) * float(values.scale[0]) ** 2
    attributes = RadialAttributes(gamma, unit * 2**down, down)
    inputs = (
        values.name,
        build.constant("radial/vectors", values.codes(estimator.support_vectors_)),
        build.constant("radial/weights", codes),
        build.constant("radial/members", np.asarray(members, np.int32)),
        build.constant("radial/output", output.astype(np.int32)),
        build.constant("radial/start", np.rint(start / attributes.scale).astype(np.int32)),
    )
    size = len(start)
    return build.operation("radial", inputs, size, quantization, attributes)


assert math.log2(WEIGHT + 1) + ONE <= 30  # products of weights and functions fit 32 bits
