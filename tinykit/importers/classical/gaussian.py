"""Gaussian naive Bayes and Gaussian mixtures."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinykit.importers.classical.builder import Builder, Refusal, Values
from tinykit.ir import Array, Quantization
from tinykit.ops.gaussians import DENSITY, DEVIATION, MOST_FEATURES, GaussiansAttributes

RELATIVE = Quantization.per_tensor(1 / 16, 127)  # log-densities from 16 below the best one's
WEIGHT = 32767


def naive_bayes(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """GaussianNB: log-probabilities of the classes relative to the best."""
    deviation = np.sqrt(estimator.var_)
    return _diagonal(build, values, estimator.class_prior_, estimator.theta_, 1 / deviation, refuse)


def mixture(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """GaussianMixture: log-probabilities of the components relative to the best."""
    kind, factor = estimator.covariance_type, estimator.precisions_cholesky_
    means = estimator.means_
    count, features = means.shape
    if kind in ("diag", "spherical"):
        factor = np.broadcast_to(np.asarray(factor).reshape(count, -1), means.shape)
        return _diagonal(build, values, estimator.weights_, means, factor, refuse)
    factor = np.broadcast_to(factor, (count, features, features))  # "tied": one for all
    rows = np.tril(np.swapaxes(factor, 1, 2))
    logs = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    start = np.log(estimator.weights_) + logs
    return _gaussians(build, values, means, rows, start, np.tril_indices(features), refuse)


def _diagonal(
    build: Builder, values: Values, prior: Array, means: Array, factor: Array, refuse: Refusal
) -> str:
    features = means.shape[1]
    rows = np.zeros((*means.shape, features))
    rows[:, np.arange(features), np.arange(features)] = factor
    start = np.log(prior) + np.log(factor).sum(axis=1)
    places = (np.arange(features), np.arange(features))
    return _gaussians(build, values, means, rows, start, places, refuse)


def _gaussians(
    build: Builder,
    values: Values,
    means: Array,
    rows: Array,
    start: Array,
    places: tuple[Array, Array],
    refuse: Refusal,
) -> str:
    """rows [C, F, F]: deviation i is rows[c, i] @ (x - mean); `places` are those stored."""
    components, features = means.shape
    refuse.require(features <= MOST_FEATURES, "features", features, f"up to {MOST_FEATURES}")
    weights = rows * values.scale / DEVIATION
    bias = np.einsum("cij,cj->ci", rows, values.offset - means) / DEVIATION
    # For each row as many fractional bits as its weights leave in 16 bits, its sums in 32.
    sums = 130 * np.abs(weights).sum(axis=2) + np.abs(bias)
    bits = np.minimum(
        np.log2(WEIGHT / np.maximum(np.abs(weights).max(axis=2), 1e-30)),
        np.log2((2.0**31 - 2**24) / np.maximum(sums, 1e-30)),
    )
    shift = np.clip(np.floor(bits), -30, 30)
    refuse.require(bool((bits >= -30).all()), "variances", "too small", "a larger var_smoothing")
    factor = 2.0**shift
    codes = np.rint(weights * factor[:, :, None]).astype(np.int16)
    start = np.rint((start - start.max()) / DENSITY)
    refuse.require(bool((start > -(2**31)).all()), "variances", "too different", "more alike ones")
    full = len(places[0]) > features
    inputs = (
        values.name,
        build.constant("gaussians/weights", codes[:, places[0], places[1]]),
        build.constant("gaussians/bias", np.rint(bias * factor).astype(np.int32)),
        build.constant("gaussians/shift", shift.astype(np.int8)),
        build.constant("gaussians/start", start.astype(np.int32)),
    )
    attributes = GaussiansAttributes(full)
    return build.operation("gaussians", inputs, components, RELATIVE, attributes)
