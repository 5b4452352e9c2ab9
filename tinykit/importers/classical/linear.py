"""Linear models: FULLY_CONNECTED, then LOGISTIC or SOFTMAX where there are probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinykit.importers.classical.builder import (
    POSITIVE,
    PROBABILITY,
    Builder,
    Refusal,
    Values,
    interval,
    logits,
    regression,
    symmetric,
)
from tinykit.ir import Array
from tinykit.ops.pointwise import PointwiseAttributes
from tinykit.ops.softmax import MAX_DEPTH, SoftmaxAttributes
from tinykit.ops.votes import VotesAttributes

LOGIT_LIMIT = 8.0  # beyond it a probability is 0 or 1 in 8 bits


def classifier(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """Scores by class; one above or below 0 for two classes; or their probabilities."""
    weights, bias = _parts(estimator)
    if _probabilistic(estimator):
        return _probabilities(build, values, weights, bias)
    return _scores(build, values, weights, bias)


def regressor(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """One output for each target."""
    weights, bias = _parts(estimator)
    return build.dense(values, weights, bias, regression(values.samples @ weights.T + bias))


def multinomial_bayes(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """Multinomial naive Bayes is linear in the counts."""
    weights, bias = np.asarray(estimator.feature_log_prob_), np.asarray(estimator.class_log_prior_)
    if len(weights) == 2:
        weights, bias = weights[1:] - weights[:1], bias[1:] - bias[:1]
    return _probabilities(build, values, weights, bias)


def linear_svc(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """SVC(kernel="linear"): a decision for each pair of classes, and votes."""
    weights, bias = _parts(estimator)
    if len(estimator.classes_) == 2:
        return _scores(build, values, weights, bias)
    return votes(build, _scores(build, values, weights, bias, pairs=True), estimator.classes_)


def votes(build: Builder, decisions: str, classes: Array) -> str:
    """One-versus-one decisions counted."""
    count = len(classes)
    attributes = VotesAttributes(count)
    return build.operation("votes", (decisions,), count, interval(-128, 127), attributes)


def projection(estimator: Any) -> tuple[Array, Array]:
    """(weights, bias) of PCA or TruncatedSVD."""
    weights = np.asarray(estimator.components_, np.float64)
    mean = getattr(estimator, "mean_", None)
    bias = np.zeros(len(weights)) if mean is None else -(weights @ mean)
    if getattr(estimator, "whiten", False):
        deviation = np.sqrt(np.maximum(estimator.explained_variance_, 1e-12))
        weights, bias = weights / deviation[:, None], bias / deviation
    return weights, bias


def reduction(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """PCA as the last step: its components."""
    weights, bias = projection(estimator)
    return build.dense(values, weights, bias, regression(values.samples @ weights.T + bias))


def _parts(estimator: Any) -> tuple[Array, Array]:
    weights = np.atleast_2d(np.asarray(estimator.coef_, np.float64))
    bias = np.asarray(estimator.intercept_, np.float64).reshape(-1)
    return weights, np.broadcast_to(bias, len(weights))


def _probabilistic(estimator: Any) -> bool:
    name, loss = type(estimator).__name__, getattr(estimator, "loss", None)
    two = len(estimator.classes_) == 2
    if name == "SGDClassifier":  # several classes: one against the rest, without probabilities
        return loss == "log_loss" and two
    if name == "LogisticRegression":
        return two or getattr(estimator, "multi_class", "auto") != "ovr"
    return name == "LinearDiscriminantAnalysis"


def _scores(
    build: Builder, values: Values, weights: Array, bias: Array, pairs: bool = False
) -> str:
    found = values.samples @ weights.T + bias
    if len(weights) > 1 and not pairs:
        low = max(float(found.min()), 2 * float(found.max(axis=1).min()) - float(found.max()))
        return build.dense(values, weights, bias, interval(low, float(found.max())))
    quantization = symmetric(found)
    return build.dense(values, weights, bias + POSITIVE * quantization.scale0, quantization)


def _probabilities(build: Builder, values: Values, weights: Array, bias: Array) -> str:
    found = values.samples @ weights.T + bias
    count = len(weights)
    if count == 1:
        quantization = symmetric(np.maximum(np.abs(found), 2.0), LOGIT_LIMIT)
        linear = build.dense(values, weights, bias + POSITIVE * quantization.scale0, quantization)
        return build.operation("logistic", (linear,), 1, PROBABILITY, PointwiseAttributes())
    Refusal("softmax").require(count <= MAX_DEPTH, "classes", count, f"up to {MAX_DEPTH}")
    # What all classes have in common says nothing, but would take up bits.
    weights, bias = weights - weights.mean(axis=0), bias - bias.mean()
    quantization = logits(values.samples @ weights.T + bias)
    linear = build.dense(values, weights, bias, quantization)
    return build.operation("softmax", (linear,), count, PROBABILITY, SoftmaxAttributes())
