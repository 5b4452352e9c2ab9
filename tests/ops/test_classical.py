"""Operators of classical models: the C kernels equal the NumPy reference on random constants.

What the reference should compute is tested against scikit-learn: tests/importers/test_sklearn.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.test_forward_property import EFFORT, SETTINGS
from tests.support.kernels import SanitizedKernels
from tinykit.errors import ModelError
from tinykit.importers.classical.builder import CODES, PROBABILITY, Builder
from tinykit.ir import Array, Graph, Quantization, Tensor
from tinykit.ops.evaluate import evaluate
from tinykit.ops.gaussians import GaussiansAttributes
from tinykit.ops.nearest import NearestAttributes
from tinykit.ops.radial import RadialAttributes
from tinykit.ops.scores import score_codes
from tinykit.ops.tree_ensemble import LEAF_LIMIT, TreeEnsembleAttributes, leaf, split
from tinykit.ops.votes import VotesAttributes

Draw = st.DrawFn
Rule = Callable[[Draw, np.random.Generator, Builder, int], str]


def quantization(draw: Draw, scale: float) -> Quantization:
    """Of an output, near the scale of what becomes it."""
    factor = draw(st.floats(0.01, 1.0))
    return Quantization.per_tensor(float(np.float32(scale / factor)), draw(st.integers(-128, 127)))


def ends(random: np.random.Generator, limit: int, shape: tuple[int, ...]) -> Array:
    """Integers up to a limit, often the limit itself."""
    values = random.integers(-limit, limit + 1, shape)
    return np.where(random.random(shape) < 0.3, np.sign(values) * limit, values)


def tree_ensemble(draw: Draw, random: np.random.Generator, build: Builder, features: int) -> str:
    trees, outputs = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    rows = draw(st.one_of(st.none(), st.integers(1, 9)))
    nodes: list[int] = []
    roots = []

    def grow(depth: int) -> list[int]:
        if depth == 0 or random.random() < 0.2:
            limit = LEAF_LIMIT // trees
            value = ends(random, limit, ()) if rows is None else random.integers(rows)
            return [leaf(int(value))]
        left, right = grow(depth - 1), grow(depth - 1)
        word = split(int(random.integers(features)), int(random.integers(-128, 128)), len(left) + 1)
        return [word, *left, *right]

    for _ in range(trees):
        roots.append(len(nodes))
        nodes += grow(draw(st.integers(0, 6)))
    inputs = (
        build.operation("features", ("input",), features, CODES),
        build.constant("nodes", np.array(nodes, np.int32)),
        build.constant("roots", np.array(roots, np.int32)),
        build.constant("start", ends(random, 2**30, (outputs,)).astype(np.int32)),
        build.constant("values", ends(random, 32767, (rows, outputs)).astype(np.int16))
        if rows
        else "",
    )
    scale = draw(st.sampled_from([2.0**-30, 2.0**-20, 1e-6]))
    attributes = TreeEnsembleAttributes(scale)
    y = quantization(draw, scale * 2**23)
    return build.operation("tree_ensemble", inputs, outputs, y, attributes)


def nearest(draw: Draw, random: np.random.Generator, build: Builder, features: int) -> str:
    rows, classes = draw(st.integers(1, 30)), draw(st.integers(1, 256))
    codes = random.integers(-128, 128, (rows, features))
    codes[random.random(rows) < 0.3] = codes[0]  # equal distances
    inputs = (
        build.operation("features", ("input",), features, CODES),
        build.constant("rows", codes.astype(np.int8)),
        build.constant("labels", random.integers(0, classes, rows).astype(np.uint8)),
    )
    attributes = NearestAttributes(draw(st.integers(1, rows)), classes)
    return build.operation("nearest", inputs, classes, PROBABILITY, attributes)


def radial(draw: Draw, random: np.random.Generator, build: Builder, features: int) -> str:
    groups, columns, outputs = (draw(st.integers(1, 4)) for _ in range(3))
    members = random.integers(0, 6, groups)
    members[0] += 1
    count = int(members.sum())
    inputs = (
        build.operation("features", ("input",), features, CODES),
        build.constant("vectors", random.integers(-128, 128, (count, features)).astype(np.int8)),
        build.constant("weights", ends(random, 32767, (count, columns)).astype(np.int16)),
        build.constant("members", members.astype(np.int32)),
        build.constant("output", random.integers(0, outputs, (groups, columns)).astype(np.int32)),
        build.constant("start", ends(random, 2**20, (outputs,)).astype(np.int32)),
    )
    gamma = draw(st.sampled_from([1e-9, 1e-5, 1e-4, 1e-3, 0.1, 3.0]))
    down = draw(st.integers(8, 12))
    attributes = RadialAttributes(gamma, 2.0**-20, down)
    return build.operation("radial", inputs, outputs, quantization(draw, 2.0**-6), attributes)


def votes(draw: Draw, random: np.random.Generator, build: Builder, features: int) -> str:
    """Features are decisions, as many of them as there are pairs."""
    classes = max(c for c in range(2, 10) if c * (c - 1) // 2 <= features)
    pairs = classes * (classes - 1) // 2
    build.tensors["input"] = Tensor("input", (1, pairs), "int8", CODES)
    zero_point = draw(st.integers(-3, 3))
    codes = Quantization.per_tensor(0.1, zero_point)
    x = build.operation("features", ("input",), pairs, codes)
    unit = Quantization.per_tensor(1.0, 0)
    return build.operation("votes", (x,), classes, unit, VotesAttributes(classes))


def gaussians(draw: Draw, random: np.random.Generator, build: Builder, features: int) -> str:
    components, full = draw(st.integers(1, 4)), draw(st.booleans())
    width = features * (features + 1) // 2 if full else features
    least = draw(st.sampled_from([-30, -4, 0]))
    inputs = (
        build.operation("features", ("input",), features, CODES),
        build.constant("weights", ends(random, 32767, (components, width)).astype(np.int16)),
        build.constant("bias", ends(random, 2**30, (components, features)).astype(np.int32)),
        build.constant("shift", random.integers(least, 31, (components, features)).astype(np.int8)),
        build.constant("start", ends(random, 2**31 - 1, (components,)).astype(np.int32)),
    )
    attributes = GaussiansAttributes(full)
    y = Quantization.per_tensor(draw(st.sampled_from([1 / 16, 1.0, 1000.0])), 127)
    return build.operation("gaussians", inputs, components, y, attributes)


@st.composite
def models(draw: Draw, rule: Rule) -> tuple[Graph, list[Array]]:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    features = draw(st.integers(1, 40))
    build = Builder("random")
    build.tensors["input"] = Tensor("input", (1, features), "int8", CODES)
    graph = build.graph(rule(draw, random, build, features))
    shape = graph["input"].shape
    xs = [random.integers(-128, 128, shape).astype(np.int8) for _ in range(3)]
    return graph, [*xs, np.full(shape, -128, np.int8), np.full(shape, 127, np.int8)]


RULES = (tree_ensemble, nearest, radial, votes, gaussians)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_kernel_equals_reference(rule: Rule, sanitized_kernels: SanitizedKernels) -> None:
    @settings(SETTINGS, max_examples=80 * EFFORT)
    @given(models(rule))
    def run(model: tuple[Graph, list[Array]]) -> None:
        graph, inputs = model
        for x in inputs:
            expected = evaluate(graph, {"input": x})[graph.outputs[0]]
            np.testing.assert_array_equal(sanitized_kernels.run(graph, x), expected)

    run()


@given(
    st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=9),
    st.floats(1e-12, 0.4),
    st.integers(-128, 127),
)
def test_largest_output_is_the_best_score(scores: list[int], scale: float, zero: int) -> None:
    y = Tensor("y", (1, len(scores)), "int8", Quantization.per_tensor(1.0, zero))
    codes = score_codes(np.array(scores), scale, y).reshape(-1)
    assert int(codes.argmax()) == int(np.argmax(scores))
    plain = np.clip(np.array(scores) * scale + zero, -128, 127)
    best = scores.index(max(scores))
    others = np.delete(plain - codes, best)
    assert others.max(initial=0) < 2.5, "no more than one step below its own value"
    assert abs(plain[best] - codes[best]) <= 1.5


def test_nodes_that_make_no_trees_are_refused() -> None:
    def ensemble(*words: int) -> Graph:
        build = Builder("bad")
        build.tensors["input"] = Tensor("input", (1, 2), "int8", CODES)
        inputs = (
            build.operation("features", ("input",), 2, CODES),
            build.constant("nodes", np.array(words, np.int32)),
            build.constant("roots", np.zeros(1, np.int32)),
            build.constant("start", np.zeros(1, np.int32)),
            "",
        )
        y = build.operation("tree_ensemble", inputs, 1, CODES, TreeEnsembleAttributes(2.0**-20))
        return build.graph(y)

    assert ensemble(split(1, 0, 2), leaf(-5), leaf(7)).outputs
    for words in (
        (split(2, 0, 2), leaf(1), leaf(2)),  # no such feature
        (split(0, 0, 3), leaf(1), leaf(2)),  # beyond the end
        (split(0, 0, 1), leaf(1), leaf(2)),  # to the left child
    ):
        with pytest.raises(ModelError, match="make no trees over 2 features"):
            ensemble(*words)
