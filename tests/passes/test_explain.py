"""What each pass took away adds up to what all of them did."""

from __future__ import annotations

import numpy as np

from tests.support.architectures import residual
from tests.support.networks import Network
from tests.support.planted import with_dead_channels
from tinykit.passes import shrink, simplify
from tinykit.passes.explain import Work, explain, work


def test_effects_add_up() -> None:
    net, output = residual()
    graph = with_dead_channels(net.graph(output), np.random.default_rng(1))
    effects = explain(graph)
    assert [effect.name for effect in effects] == ["fold_channels"]
    total = sum((effect.removed for effect in effects), Work(0, 0, 0))
    assert work(graph) - total == work(shrink(simplify(graph)))
    assert total.macs > 0
    assert total.flash > 0


def test_tables_cost_flash_and_save_ops() -> None:
    net = Network((1, 8, 8, 5), seed=4)
    x = net.requantize(net.requantize("x", 0.8), 0.9)
    effects = explain(net.graph(net.conv(x, 3)))
    assert [(e.name, e.removed) for e in effects] == [("use_lookups", Work(1, 0, -256))]


def test_nothing_is_shrunk_that_learns() -> None:
    net, output = residual()
    graph = with_dead_channels(net.graph(output), np.random.default_rng(1))
    assert explain(graph, frozenset(op.name for op in graph.ops)) == []
