"""Placement: what branch and bound says is the smallest arena is the smallest there is."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.networks import Network
from tinykit.schedule import schedule
from tinykit.schedule.exact import Problem, improve

Pairs = dict[tuple[int, int], tuple[int, int]]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """A few buffers; some pairs may not meet, some follow each other at a distance."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    pairs: Pairs = {}
    for i, a in enumerate(sizes):
        for j, b in enumerate(sizes[:i]):
            kind = draw(st.sampled_from(["free", "apart", "apart", "behind", "before"]))
            if kind != "free":
                low, high = -a, b
                if kind == "behind":
                    high = draw(st.integers(low + 1, b))
                if kind == "before":
                    low = draw(st.integers(-a, high - 1))
                pairs[i, j] = low, high
                pairs[j, i] = -high, -low
    return Problem(sizes, pairs, {})


def fits(problem: Problem, offsets: tuple[int, ...]) -> bool:
    return not any(
        low < offsets[i] - offsets[j] < high for (i, j), (low, high) in problem.apart.items()
    )


def total(problem: Problem, offsets: tuple[int, ...]) -> int:
    return max(o + size for o, size in zip(offsets, problem.sizes, strict=True))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(problems())
def test_the_optimum_is_found_and_proven(problem: Problem) -> None:
    """Against all placements there are."""
    start = [sum(problem.sizes[:i]) for i in range(len(problem.sizes))]
    worst = total(problem, tuple(start)) + 1
    found, complete = improve(problem, dict(enumerate(start)), worst, bound=0)
    assert complete
    best = min(
        total(problem, offsets)
        for offsets in product(*(range(worst - size) for size in problem.sizes))
        if fits(problem, offsets)
    )
    offsets = tuple(found[i] for i in range(len(problem.sizes)))
    assert fits(problem, offsets)
    assert total(problem, offsets) == best


def test_what_is_fixed_stays() -> None:
    problem = Problem([4, 4], {(0, 1): (-4, 4), (1, 0): (-4, 4)}, {0: 4})
    found, complete = improve(problem, {0: 4, 1: 8}, 12, bound=8)
    assert (found, complete) == ({0: 4, 1: 0}, True)


def test_the_program_says_how_good_it_is() -> None:
    net = Network((1, 8, 8, 2))
    x = net.conv(net.conv("x", 6), 4)
    program = schedule(net.graph(net.dense(net.mean(x), 3)))
    assert program.proof in ("bound reached", "optimal, bound not reachable")
    assert (program.arena_bytes == program.bound_bytes) == (program.proof == "bound reached")


def test_more_memory_is_used_for_speed() -> None:
    """A budget gets the fastest program that fits; none that fits, the smallest."""
    net = Network((1, 16, 8, 2))
    x = net.conv(net.depthwise(net.conv("x", 16)), 16)
    graph = net.graph(net.dense(net.mean(x), 3))
    smallest, fastest = schedule(graph), schedule(graph, arena=10**6)
    assert smallest.streamed
    assert not fastest.streamed
    assert fastest.overhead == 0
    assert smallest.arena_bytes < fastest.arena_bytes
    assert schedule(graph, arena=fastest.arena_bytes - 4).arena_bytes < fastest.arena_bytes
    assert schedule(graph, arena=1).arena_bytes == smallest.arena_bytes
