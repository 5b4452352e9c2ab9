"""Plan search: the update plan with the largest summed contribution under the budgets.

A candidate says for every layer whether its bias learns and which eighths of its input channels.
An evolutionary search looks for the best one by prices that add up (bytes and instructions of
what learns, with the largest pair of gradients that must exist at once).  What the prices leave
out - how well buffers share the arena, what saving takes - is put right by the exact planner: the
best candidate is compiled, and the limit of the prices is halved towards the budget until the best
plan below it fits exactly and the next one does not.  All random choices are seeded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tinykit.errors import DoesNotFitError, PlanError
from tinykit.ir import Graph
from tinykit.ops.registry import operator
from tinykit.training.contribution import LayerContribution, differentiable
from tinykit.training.ladder import plan_text
from tinykit.training.plan import Optimizer, Plan, Training, Update

SHARES = (0.0, 0.125, 0.25, 0.5, 1.0)  # of a layer's channels; the published schemes use these
POPULATION, GENERATIONS, PARENTS = 96, 120, 24
ROUNDS = 10  # candidates that the exact planner sees
CLOSE = 0.01  # limits of the prices that are as good as equal
WEIGHT_BYTES = {"int8": 1, "int16": 2, "int32": 5}  # of an int8 weight with its master

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Cost:
    """What a plan takes, exactly: bytes of SRAM and flash (with the bounds of code and stack), and
    instructions of a step as the cost model estimates them."""

    sram: int
    flash: int
    instructions: int


@dataclass(frozen=True)
class Budget:
    """Limits of the same; None: no limit."""

    sram: int
    flash: int
    instructions: int | None = None

    def holds(self, cost: Cost) -> bool:
        """Whether a plan with these costs may be chosen."""
        return (
            cost.sram <= self.sram
            and cost.flash <= self.flash
            and (self.instructions is None or cost.instructions <= self.instructions)
        )


@dataclass(frozen=True)
class Tried:
    """A candidate that was measured, and the seconds that this took."""

    contribution: float
    cost: Cost
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Found:
    """A plan, its summed contribution as a share of what everything would contribute, its cost, and
    all candidates that were measured on the way."""

    plan: Plan
    contribution: float
    cost: Cost
    tried: tuple[Tried, ...] = ()


@dataclass(frozen=True)
class Prices:
    """Of one layer: bytes of its bias and of each share of its weights; instructions likewise;
    what must be kept for its bias and for its weights; `gradients`: the largest pair of gradient
    buffers when the backward pass reaches it, and what it takes to get there from the next."""

    bias_bytes: int
    weight_bytes: tuple[int, ...]
    weight_kept: int
    bias_instructions: int
    weight_instructions: tuple[int, ...]
    gradients: int
    reach: int
    mask: int


Genome = tuple[int, ...]  # for each layer: 2 * (number of a share) + (1 if the bias learns)


@dataclass
class Space:
    """Candidates over the layers that can learn, in order of execution."""

    layers: list[str]
    has_bias: list[bool]
    gains: list[tuple[float, tuple[float, ...]]]
    prices: list[Prices]

    def gain(self, genome: Genome) -> float:
        return sum(
            (gain[0] if gene & 1 else 0.0) + gain[1][gene >> 1]
            for gene, gain in zip(genome, self.gains, strict=True)
        )

    def price(self, genome: Genome) -> tuple[int, int]:
        """(bytes, instructions) beyond what inference takes."""
        size = work = peak = 0
        learning = False
        for gene, price in zip(genome, self.prices, strict=True):
            if learning:  # the backward pass goes through
                work += price.reach
                size += price.mask
                peak = max(peak, price.gradients)
            if gene & 1:
                size += price.bias_bytes
                work += price.bias_instructions
            if share := gene >> 1:
                size += price.weight_bytes[share] + price.weight_kept
                work += price.weight_instructions[share]
            learning = learning or gene > 0
        return size + peak, work

    def plan(
        self, genome: Genome, name: str, optimizer: Optimizer, training: Training | None = None
    ) -> Plan:
        """The candidate as a plan: layers that are treated alike share an entry."""
        groups: dict[tuple[bool, float], list[str]] = {}
        for layer, gene in zip(self.layers, genome, strict=True):
            if gene:
                groups.setdefault((bool(gene & 1), SHARES[gene >> 1]), []).append(layer)
        updates = [
            Update(layers=tuple(names), bias=bias or None, weights=share or None)
            for (bias, share), names in groups.items()
        ]
        return Plan(
            name=name,
            optimizer=optimizer,
            training=training or Training(),
            update=tuple(updates),
        )


def _channels(total: int, share: float) -> int:
    return min(total, max(1, round(share * total))) if share else 0


def space_of(
    graph: Graph,
    contributions: Mapping[str, LayerContribution],
    optimizer: Optimizer,
    training: Training | None = None,
) -> Space:
    """The candidates for a graph, with what they gain and their prices."""
    backward, layers = differentiable(graph, training)
    work: dict[tuple[str, str], int] = {}
    gradients: dict[str, int] = {}
    masks: dict[str, int] = {}
    for op in backward.ops:
        rule = operator(op.kind)
        key = (op.layer, "bias" if op.kind == "bias_update" else op.phase)
        work[key] = work.get(key, 0) + rule.cost(backward, op).instructions
        if op.phase == "backward":
            pair = sum(backward[name].bytes for name in (op.inputs[0], *op.outputs))
            gradients[op.layer] = max(gradients.get(op.layer, 0), pair)
        if op.kind == "activation_mask":
            masks[op.layer] = sum(backward[name].bytes for name in op.outputs)
    space = Space([], [], [], [])
    weight = WEIGHT_BYTES[optimizer.master] + 2 * len(_states(optimizer))
    bias = (4 if optimizer.master == "int8" else 5) + 2 * len(_states(optimizer))
    for op in layers:
        weights, found = graph[op.inputs[1]], contributions[op.name]
        total = weights.shape[-1]
        counts = [_channels(total, share) for share in SHARES]
        per_channel = weights.size // total
        update = work.get((op.name, "update"), 0)
        outputs = graph[op.outputs[0]].shape[-1]
        space.layers.append(op.name)
        space.has_bias.append(len(op.inputs) > 2 and bool(op.inputs[2]))
        space.gains.append((found.bias, tuple(found.weights(count) for count in counts)))
        space.prices.append(
            Prices(
                bias_bytes=bias * outputs,
                weight_bytes=tuple(weight * per_channel * count for count in counts),
                weight_kept=graph[op.inputs[0]].bytes,
                bias_instructions=work.get((op.name, "bias"), 0),
                weight_instructions=tuple(update * count // total for count in counts),
                gradients=gradients.get(op.name, 0),
                reach=work.get((op.name, "backward"), 0),
                mask=masks.get(op.name, 0),
            )
        )
    return space


def _states(optimizer: Optimizer) -> tuple[str, ...]:
    if optimizer.adam is not None:
        return ("momentum", "deviation")
    return ("momentum",) if optimizer.momentum else ()


def _evolve(
    space: Space, limit: tuple[float, float], random: np.random.Generator, seeds: list[Genome]
) -> Genome:
    """The best candidate found under limits of bytes and instructions beyond inference."""
    genes = [
        [g for g in range(2 * len(SHARES)) if has_bias or not g & 1] for has_bias in space.has_bias
    ]
    scores: dict[Genome, tuple[float, float]] = {}

    def score(genome: Genome) -> tuple[float, float]:
        """Candidates that keep the limits before those that do not; then by contribution."""
        if genome not in scores:
            size, work = space.price(genome)
            over = max(0.0, size / limit[0] - 1) + max(0.0, work / limit[1] - 1)
            scores[genome] = (-over, space.gain(genome))
        return scores[genome]

    def mutated(genome: Genome) -> Genome:
        changed = list(genome)
        for _ in range(1 + int(random.integers(3))):
            at = int(random.integers(len(changed)))
            changed[at] = int(random.choice(genes[at]))
        if random.integers(4) == 0:  # all layers before one are frozen
            at = int(random.integers(len(changed)))
            changed[:at] = [0] * at
        return tuple(changed)

    def crossed(a: Genome, b: Genome) -> Genome:
        at = int(random.integers(len(a) + 1))
        return a[:at] + b[at:]

    head = (0,) * (len(genes) - 1) + (genes[-1][-1],)
    population = [head, *seeds, *(mutated(head) for _ in range(POPULATION))]
    for _ in range(GENERATIONS):
        best = sorted(set(population), key=lambda g: (score(g), g), reverse=True)[:PARENTS]
        children: list[Genome] = []
        while len(children) < POPULATION:
            a, b = (best[int(random.integers(len(best)))] for _ in range(2))
            children.append(mutated(crossed(a, b)))
        population = [*best, *children]
    return max(population, key=lambda g: (score(g), g))


def search(
    graph: Graph,
    contributions: Mapping[str, LayerContribution],
    budget: Budget,
    measure: Callable[[Plan], Cost],
    *,
    optimizer: Optimizer | None = None,
    training: Training | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Found:
    """The plan with the largest summed contribution that fits.

    measure: the exact cost of a plan; its PlanError means that the plan cannot be.
    Raises DoesNotFitError where not even the head fits.
    """
    optimizer = optimizer or Optimizer()
    space = space_of(graph, contributions, optimizer, training)
    everything = sum(gain[0] + gain[1][-1] for gain in space.gains) or 1.0
    random = np.random.default_rng(seed)
    name = f"search-{budget.sram // 1024}KB"
    fits, fails = 0.0, float(budget.sram)  # limits of the priced bytes
    limit, work_limit = fails, float(budget.instructions or math.inf)
    best: tuple[Genome, Found] | None = None
    tried: list[Tried] = []
    for done in range(ROUNDS):
        if progress is not None:
            progress(done, ROUNDS)
        seeds = [best[0]] if best else []
        genome = _evolve(space, (max(limit, 1.0), max(work_limit, 1.0)), random, seeds)
        size, work = space.price(genome)
        share, begun = space.gain(genome) / everything, time.monotonic()
        try:
            cost = measure(space.plan(genome, name, optimizer, training))
            tried.append(Tried(share, cost, time.monotonic() - begun))
        except PlanError:
            cost = None
        if cost is not None and budget.instructions is not None:
            work_limit = work + budget.instructions - cost.instructions
        if cost is None or cost.sram > budget.sram or cost.flash > budget.flash:
            fails = min(limit, size)
        else:
            fits = limit
            if budget.holds(cost) and (best is None or share > best[1].contribution):
                best = genome, Found(space.plan(genome, name, optimizer, training), share, cost)
        if fails - fits < CLOSE * fails:
            break
        limit = (fits + fails) / 2
    if progress is not None:
        progress(ROUNDS, ROUNDS)
    if best is not None:
        return replace(best[1], tried=tuple(tried))
    head = (0,) * (len(space.layers) - 1) + (2 * len(SHARES) - 2 + int(space.has_bias[-1]),)
    plan = space.plan(head, name, optimizer, training)
    share, begun = space.gain(head) / everything, time.monotonic()
    cost = measure(plan)
    tried.append(Tried(share, cost, time.monotonic() - begun))
    if budget.holds(cost):
        return Found(plan, share, cost, tuple(tried))
    raise DoesNotFitError(
        f"not even the last layer can learn: it takes {cost.sram:,} bytes of SRAM, "
        f"{cost.flash:,} of flash and about {cost.instructions:,} instructions a step",
        "allow more, or choose a larger board",
    )


def searched_text(found: Found) -> str:
    """The plan as a TOML file that says what it was found to take."""
    cost = found.cost
    return (
        f"# Found by `tinykit plan --search`: {found.contribution:.1%} of what all parameters\n"
        f"# together would contribute, in at most {cost.sram:,} bytes of SRAM, {cost.flash:,} of\n"
        f"# flash and about {cost.instructions:,} instructions a step.\n" + plan_text(found.plan)
    )
