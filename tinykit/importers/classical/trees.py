"""Decision trees, forests and gradient boosting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinykit.errors import ModelError
from tinykit.importers.classical.builder import (
    POSITIVE,
    PROBABILITY,
    Builder,
    Refusal,
    Values,
    logits,
    regression,
    symmetric,
)
from tinykit.ir import Array, Quantization
from tinykit.ops.tree_ensemble import (
    LARGEST_STEP,
    LEAF_LIMIT,
    MOST_FEATURES,
    MOST_TREES,
    TreeEnsembleAttributes,
    leaf,
    split,
)

DEEPEST = 300  # levels of a tree
ONE = 32767  # a probability of 1 in a leaf


@dataclass(frozen=True)
class Tree:
    """A fitted tree: node i is a leaf where left[i] < 0; values [N, …] of its nodes."""

    left: Array
    right: Array
    feature: Array
    threshold: Array
    values: Array

    @classmethod
    def of(cls, tree: Any) -> Tree:
        """Of sklearn.tree's Tree; values [N, classes], or [N, 1] of a regression."""
        left, right = tree.children_left, tree.children_right
        return cls(left, right, tree.feature, tree.threshold, tree.value[:, 0, :])

    @classmethod
    def of_histogram(cls, predictor: Any, refuse: Refusal) -> Tree:
        """Of HistGradientBoosting's TreePredictor."""
        nodes = predictor.nodes
        refuse.require(not nodes["is_categorical"].any(), "categorical_features", "given", "None")
        left = np.where(nodes["is_leaf"], -1, nodes["left"].astype(np.int64))
        right = nodes["right"].astype(np.int64)
        feature = nodes["feature_idx"].astype(np.int64)
        return cls(left, right, feature, nodes["num_threshold"], nodes["value"][:, None])

    @property
    def leaves(self) -> Array:
        """The leaves' values, [leaves, …]."""
        return self.values[self.left < 0]

    def predict(self, x: Array) -> Array:
        """The values [n, …] of the leaves that rows [n, F] reach, compared as float32."""
        x, at = x.astype(np.float32), np.zeros(len(x), np.int64)
        while (inner := self.left[at] >= 0).any():
            goes = x[np.arange(len(x)), np.maximum(self.feature[at], 0)] <= self.threshold[at]
            at = np.where(inner, np.where(goes, self.left[at], self.right[at]), at)
        return self.values[at]


def trees_of(estimator: Any, refuse: Refusal) -> list[Tree]:
    """All trees, round by round and within a round by output."""
    if hasattr(estimator, "_predictors"):
        return [Tree.of_histogram(t, refuse) for stage in estimator._predictors for t in stage]
    if hasattr(estimator, "estimators_"):
        members = np.asarray(estimator.estimators_, dtype=object).reshape(-1)
        return [Tree.of(member.tree_) for member in members]
    return [Tree.of(estimator.tree_)]


def limits(estimator: Any, low: Array, high: Array, refuse: Refusal) -> tuple[Array, Array]:
    """The range of each feature that its thresholds need; low, high: where there are none.

    What lies beyond the outermost thresholds may saturate: no tree tells it apart.
    """
    low, high = low.copy(), high.copy()
    trees = trees_of(estimator, refuse)
    features = np.concatenate([t.feature[t.left >= 0] for t in trees])
    thresholds = np.concatenate([t.threshold[t.left >= 0] for t in trees]).astype(np.float64)
    features, thresholds = features[np.isfinite(thresholds)], thresholds[np.isfinite(thresholds)]
    for feature in np.unique(features):
        own = thresholds[features == feature]
        first, last = own.min(), own.max()
        # Codes -128 … 127: at least one on either side of all thresholds.
        step = (last - first) / 252 or (high[feature] - low[feature]) / 255 or 1.0
        low[feature], high[feature] = first - 1.5 * step, last + 1.5 * step
    return low, high


def classifier(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """A tree or a forest: the mean of the leaves' probabilities."""
    trees = trees_of(estimator, refuse)
    rows: dict[bytes, int] = {}
    table: list[Array] = []

    def row_of(value: Array, child: int) -> int:
        if child >= 0:
            return -1  # no leaf
        row = np.rint(ONE * value / value.sum()).astype(np.int16)
        if row.tobytes() not in rows:
            rows[row.tobytes()] = len(table)
            table.append(row)
        return rows[row.tobytes()]

    words = [
        _words(tree, values, list(map(row_of, tree.values, tree.left)), refuse) for tree in trees
    ]
    classes, scale = len(table[0]), 1 / (ONE * len(trees))
    start = np.zeros(classes, np.int32)
    return _ensemble(build, values, words, start, scale, PROBABILITY, refuse, np.stack(table))


def regressor(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """A tree or a forest: the mean of the leaves."""
    trees = trees_of(estimator, refuse)
    predictions = np.mean([tree.predict(values.samples) for tree in trees], axis=0)
    return _sums(build, values, trees, 1 / len(trees), np.zeros(1), regression(predictions), refuse)


def boosting_classifier(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """Raw scores by class; for two classes one score, above or below 0."""
    trees, factor = trees_of(estimator, refuse), _factor(estimator)
    count = len(values.samples)
    scores = np.asarray(estimator.decision_function(values.samples)).reshape(count, -1)
    start = _start(trees, factor, values, scores)
    if scores.shape[1] > 1:
        return _sums(build, values, trees, factor, start, logits(scores), refuse)
    quantization = symmetric(scores)
    start = start + POSITIVE * quantization.scale0
    return _sums(build, values, trees, factor, start, quantization, refuse)


def boosting_regressor(build: Builder, estimator: Any, values: Values, refuse: Refusal) -> str:
    """The sum of all trees."""
    trees, factor = trees_of(estimator, refuse), _factor(estimator)
    predictions = estimator.predict(values.samples)[:, None]
    start = _start(trees, factor, values, predictions)
    return _sums(build, values, trees, factor, start, regression(predictions), refuse)


def _factor(estimator: Any) -> float:
    """What a tree's values are multiplied by: histogram trees hold the learning rate already."""
    return 1.0 if hasattr(estimator, "_predictors") else float(estimator.learning_rate)


def _start(trees: Sequence[Tree], factor: float, values: Values, scores: Array) -> Array:
    """What comes before the first tree: the scores [n, C] of one sample less all its leaves."""
    outputs = scores.shape[1]
    found = np.array([tree.predict(values.samples[:1])[0, 0] for tree in trees])
    return np.asarray(scores[0] - factor * found.reshape(-1, outputs).sum(axis=0))


def _sums(
    build: Builder,
    values: Values,
    trees: Sequence[Tree],
    factor: float,
    start: Array,
    quantization: Quantization,
    refuse: Refusal,
) -> str:
    """Leaves that hold a number each, in the finest units whose sums fit 32 bits."""
    largest = np.array([factor * np.abs(tree.leaves).max() for tree in trees])
    scale = float(max(
        largest.max() / LEAF_LIMIT, (largest.sum() + np.abs(start).max()) / 2.0**30, 1e-30
    ))  # fmt: skip
    words = [
        _words(tree, values, np.rint(factor * tree.values[:, 0] / scale), refuse) for tree in trees
    ]
    first = np.rint(start / scale).astype(np.int32)
    return _ensemble(build, values, words, first, scale, quantization, refuse, None)


def _ensemble(
    build: Builder,
    values: Values,
    trees: list[list[int]],
    start: Array,
    scale: float,
    quantization: Quantization,
    refuse: Refusal,
    table: Array | None,
) -> str:
    count = len(values.scale)
    refuse.require(count <= MOST_FEATURES, "features", count, f"up to {MOST_FEATURES}")
    refuse.require(len(trees) <= MOST_TREES, "trees", len(trees), f"up to {MOST_TREES}")
    roots = np.cumsum([0, *(len(tree) for tree in trees[:-1])]).astype(np.int32)
    nodes = np.array([word for tree in trees for word in tree], np.int32)
    inputs = (
        values.name,
        build.constant("trees/nodes", nodes),
        build.constant("trees/roots", roots),
        build.constant("trees/start", start),
        "" if table is None else build.constant("trees/values", table),
    )
    attributes = TreeEnsembleAttributes(scale)
    return build.operation("tree_ensemble", inputs, len(start), quantization, attributes, "trees")


def _words(tree: Tree, values: Values, leaves: Sequence[float], refuse: Refusal) -> list[int]:
    """The nodes as the operator has them, the left child behind its parent.

    Tests that codes cannot fail or pass any more are left out, and those whose sides are equal.
    """
    tested = np.maximum(tree.feature, 0)  # a leaf tests none
    place = (tree.threshold - values.offset[tested]) / values.scale[tested] - 0.5
    codes = np.clip(np.rint(np.nan_to_num(place, posinf=127)), -128, 127).astype(np.int64)
    low, high = np.full(len(values.scale), -128), np.full(len(values.scale), 127)

    def made(node: int, depth: int) -> list[int]:
        if tree.left[node] < 0:
            return [leaf(int(leaves[node]))]
        refuse.require(depth < DEEPEST, "depth of a tree", depth, f"up to {DEEPEST}")
        feature, code = int(tree.feature[node]), int(codes[node])
        if code >= high[feature]:
            return made(int(tree.left[node]), depth + 1)
        if code < low[feature]:
            return made(int(tree.right[node]), depth + 1)
        kept, high[feature] = high[feature], code
        left = made(int(tree.left[node]), depth + 1)
        high[feature], kept = kept, low[feature]
        low[feature] = code + 1
        right = made(int(tree.right[node]), depth + 1)
        low[feature] = kept
        if left == right:
            return left
        if len(left) >= LARGEST_STEP:
            raise ModelError(
                f"{refuse.estimator}: {len(left)} nodes to the left of one",
                f"supported: up to {LARGEST_STEP - 1}; fit with max_depth or max_leaf_nodes",
            )
        return [split(feature, code, len(left) + 1), *left, *right]

    return made(0, 0)
