"""From a graph to a program: order, segments, places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge as merged
from itertools import islice, takewhile

from tinykit.errors import PlanError
from tinykit.ir import Graph
from tinykit.ops.registry import operator
from tinykit.schedule.arena import SEARCH_ROUNDS, place
from tinykit.schedule.choice import Choice, Cut
from tinykit.schedule.facts import Facts
from tinykit.schedule.liveness import merge
from tinykit.schedule.lives import lives
from tinykit.schedule.order import orders
from tinykit.schedule.program import Placement, Program

SHARE = 0.10  # of the instructions that streaming may cost where no budget is given
CURVE_ROUNDS = 300  # of local search for the places of each point of the curve
TRIES = 3  # cuts that are placed, when the liveness bound of the best is not reached

Candidate = tuple[Choice, Cut]


def instructions(graph: Graph) -> int:
    """Estimated instructions of a run, layer by layer."""
    return sum(operator(op.kind).cost(graph, op).instructions for op in graph.ops)


def schedule(
    graph: Graph,
    keep_input: bool = False,
    *,
    arena: int | None = None,
    input_rows: bool = False,
    pinned: Mapping[str, int] | None = None,
) -> Program:
    """Choose the order and the segments, and place all buffers.

    arena: a budget in bytes, for the cheapest program that fits it (the smallest if none does);
    without one, the smallest program that streaming makes at most SHARE slower
    input_rows: the input arrives row by row and is never whole
    pinned: offsets that are given, by tensor
    """
    choices = [Choice(Facts(ordered, keep_input, input_rows)) for ordered in orders(graph)]
    if arena is None:
        limit = int(SHARE * instructions(graph))
        fast = takewhile(lambda c: c[1].overhead <= limit, _by_overhead(choices))
        pool = list(fast) or list(islice(_by_overhead(choices), 1))
        pool.sort(key=lambda c: (c[1].bytes, c[1].overhead))
        best = _best(pool, arena, pinned or {})
    else:
        best = _best(_by_overhead(choices, arena), arena, pinned or {})
    if best is None and arena is not None:  # nothing can fit
        every = [candidate for choice in choices for candidate in _cuts(choice)]
        pool = sorted(every, key=lambda c: c[1].bytes)[:TRIES]
        best = _best(pool, arena, pinned or {})
    if best is None:
        raise PlanError(
            f"{graph.name}: the input cannot arrive row by row",
            "all layers that read it, and those between them, need a form that works on rows "
            "(convolutions, pools, padding, additions)",
        )
    return best


def _cuts(choice: Choice, limit: int | None = None) -> Iterator[Candidate]:
    return ((choice, cut) for cut in choice.curve(limit))


def _by_overhead(choices: Sequence[Choice], limit: int | None = None) -> Iterator[Candidate]:
    """The cuts of all orders, the fastest first; each is looked for when it is asked for."""
    cuts = (_cuts(choice, limit) for choice in choices)
    return merged(*cuts, key=lambda c: (c[1].overhead, c[1].bytes))


def curve(
    graph: Graph, keep_input: bool = False, *, input_rows: bool = False, points: int = 12
) -> list[Program]:
    """Programs that no other beats in both arena and instructions, the largest arena first.

    At most about `points` of them, evenly chosen; placed without a long search.
    """
    cuts = [
        (choice, cut)
        for ordered in orders(graph)
        for choice in [Choice(Facts(ordered, keep_input, input_rows))]
        for cut in choice.curve()
    ]
    cuts.sort(key=lambda pair: (-pair[1].bytes, pair[1].overhead))
    step = -(-len(cuts) // points)
    chosen = [*cuts[:-1:step], *cuts[-1:]]
    programs = [assemble(choice.facts, cut, rounds=CURVE_ROUNDS) for choice, cut in chosen]
    programs.sort(key=lambda program: (program.arena_bytes, program.overhead))
    found: list[Program] = []
    for program in programs:
        if not found or program.overhead < found[-1].overhead:
            found.append(program)
    return found[::-1]


def _best(
    pool: Iterable[Candidate], arena: int | None, pinned: Mapping[str, int]
) -> Program | None:
    """The first that fits the budget; without one the smallest of the first few."""
    best: Program | None = None
    for tried, (choice, cut) in enumerate(pool):
        if best is not None and arena is None and (tried >= TRIES or cut.bytes >= best.arena_bytes):
            break
        program = assemble(choice.facts, cut, pinned)
        if best is None or program.arena_bytes < best.arena_bytes:
            best = program
        if arena is not None and program.arena_bytes <= arena:
            return program
    return best


def assemble(
    facts: Facts,
    cut: Cut,
    pinned: Mapping[str, int] | None = None,
    rounds: int = SEARCH_ROUNDS,
) -> Program:
    """The program of these segments; `rounds` of local search for the places at most."""
    found, distances = merge(facts, [lives(facts, segment) for segment in cut.segments])
    placed = place(found, distances, pinned, rounds)
    offsets = dict(placed.offsets)
    return Program(
        facts.graph,
        cut.segments,
        tuple(Placement(b, offsets[b.names[0]]) for b in found),
        offsets,
        placed.bytes,
        placed.bound,
        placed.proof,
        cut.overhead,
        facts.input_rows,
    )


def schedule_both(
    infer: Graph, train: Graph, keep_input: bool = False, *, arena: int | None = None
) -> tuple[Program, Program]:
    """Programs of one arena for inference and for training, which have their input at one place.

    Training needs more memory; inference may use what training needs to run faster.
    """
    trained = schedule(train, keep_input, arena=arena)
    at = trained.offsets[train.inputs[0]]
    budget = max(trained.arena_bytes, arena or 0)
    inferred = schedule(infer, keep_input, arena=budget, pinned={infer.inputs[0]: at})
    if inferred.arena_bytes <= budget:
        return inferred, trained
    # Inference is the larger one, or the input is in its way: the other way round.
    free = schedule(infer, keep_input, arena=budget)
    at = free.offsets[infer.inputs[0]]
    moved = schedule(train, keep_input, arena=budget, pinned={train.inputs[0]: at})
    if max(free.arena_bytes, moved.arena_bytes) < inferred.arena_bytes:
        return free, moved
    return inferred, trained
