"""Decision trees, forests, gradient boosting: nodes of one word, integer sums of leaves.

Inputs: x int8 [1, F]; nodes int32 [N] (see tk_tree_ensemble); roots int32 [T]; start int32 [C], the
sums before the first tree; values int16 [rows, C], or absent: then the value in a leaf is added to
output t % C, t being the tree's number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Address, Call, Cost, Operator, Struct, Table
from tinykit.ops.evaluate import Run
from tinykit.ops.scores import WORD, score_codes, scores_struct

RIGHT_BITS, THRESHOLD_BITS, FEATURE_BITS = 14, 8, 10
LARGEST_STEP = 2**RIGHT_BITS - 1  # from a node to its right child
MOST_FEATURES = 2**FEATURE_BITS
LEAF_LIMIT = 2 ** (31 - RIGHT_BITS) - 1  # of a leaf's value
MOST_TREES = 2**RIGHT_BITS - 1  # whose values add up in 32 bits


@dataclass(frozen=True)
class TreeEnsembleAttributes(Attributes):
    """scale: the real number that 1 in the sums stands for."""

    scale: float = 1.0


def split(feature: int, threshold: int, right: int) -> int:
    """An inner node: left if feature <= threshold, else `right` nodes ahead."""
    word = feature << 22 | (threshold + 128) << RIGHT_BITS | right
    return word - 2**32 if word >= 2**31 else word


def leaf(value: int) -> int:
    """A leaf with a signed value, or the number of its row of values."""
    return value << RIGHT_BITS


@dataclass(frozen=True)
class _Nodes:
    """Words taken apart, [N] each."""

    right: Array
    threshold: Array
    feature: Array
    value: Array

    @classmethod
    def of(cls, words: Array) -> _Nodes:
        bits = words.astype(np.int64) & 0xFFFFFFFF
        right, threshold = bits & LARGEST_STEP, (bits >> RIGHT_BITS & 0xFF) - 128
        return cls(right, threshold, bits >> 22, words.astype(np.int64) >> RIGHT_BITS)


class TreeEnsemble(Operator[TreeEnsembleAttributes]):
    kind = "tree_ensemble"
    note = f"of models from scikit-learn; up to {MOST_FEATURES} features, {MOST_TREES:,} trees"

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        x, nodes, roots, start = (graph[name] for name in op.inputs[:4])
        outputs, parts = start.size, _Nodes.of(nodes.value)
        leaves, inner = parts.right == 0, parts.right != 0
        ends = np.append(roots.value[1:], nodes.size)
        owner = np.searchsorted(roots.value, np.arange(nodes.size), "right") - 1
        ahead = np.arange(nodes.size) + np.maximum(parts.right, 1)
        rows = graph[op.inputs[4]].shape[0] if op.inputs[4] else None
        sound = (
            0 < roots.size <= MOST_TREES
            and roots.value[0] == 0
            and bool((np.diff(roots.value) > 0).all())
            and bool((ahead[inner] < ends[owner][inner]).all())
            and bool((parts.right[inner] > 1).all())
            and bool((parts.feature[inner] < x.size).all())
            and (rows is None or bool(((parts.value >= 0) & (parts.value < rows))[leaves].all()))
        )
        if not sound or not self._fits(graph, op, parts):
            raise ModelError(
                f"layer {op.name}: nodes that make no trees over {x.size} features, or 32-bit sums"
            )
        return ((1, outputs),)

    def _fits(self, graph: Graph, op: Op, parts: _Nodes) -> bool:
        roots, start = graph[op.inputs[2]].value, graph[op.inputs[3]].value.astype(np.int64)
        leaves, largest = parts.right == 0, np.abs(parts.value)
        if op.inputs[4]:
            rows = np.abs(graph[op.inputs[4]].value.astype(np.int64)).max(axis=1)
            largest = rows[np.where(leaves, parts.value, 0)]
        trees = np.maximum.reduceat(np.where(leaves, largest, 0), roots)
        return int(trees.sum() + np.abs(start).max()) < 2**31

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        nodes, roots, start = (run[name] for name in op.inputs[1:4])
        parts, x = _Nodes.of(nodes), run[op.inputs[0]].reshape(-1).astype(np.int64)
        at = roots.astype(np.int64)
        while (parts.right[at] != 0).any():
            stays = x[np.minimum(parts.feature[at], len(x) - 1)] <= parts.threshold[at]
            at = at + np.where(parts.right[at] == 0, 0, np.where(stays, 1, parts.right[at]))
        leaves, sums = parts.value[at], start.astype(np.int64)
        if op.inputs[4]:
            sums = sums + run[op.inputs[4]].astype(np.int64)[leaves].sum(axis=0)
        else:
            np.add.at(sums, np.arange(len(leaves)) % len(sums), leaves)
        return (score_codes(sums, self.attributes(op).scale, run.graph[op.outputs[0]]),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        return Cost(macs=4 * graph[op.inputs[2]].size, elements=graph[op.outputs[0]].size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        x, nodes, roots, start = (graph[name] for name in op.inputs[:4])
        y = graph[op.outputs[0]]
        struct = Struct(
            "tk_tree_ensemble",
            {
                "nodes": Table("int32_t", nodes.value, "weights"),
                "roots": Table("int32_t", roots.value),
                "values": Address(op.inputs[4]) if op.inputs[4] else None,
                "start": Address(start.name),
                "scores": scores_struct(self.attributes(op).scale, y),
                "trees": roots.size,
            },
        )
        scratch = WORD * y.size
        return (Call("tk_tree_ensemble_s8", struct, (x.name, y.name, "$scratch"), scratch),)


OPERATOR = TreeEnsemble()
