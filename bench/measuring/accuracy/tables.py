"""The printed tables: Markdown, all of it made from the results."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

from bench.measuring.accuracy.grid import (
    ABLATED,
    SEEDS,
    VARIANTS,
    Variant,
    chosen,
    is_of,
    same_changes,
)
from bench.measuring.accuracy.problem import Task
from bench.measuring.accuracy.statistics import Interval, Pair, over_seeds, paired, pooled
from bench.measuring.accuracy.store import Cell, Result

BAR = -1.0  # points: integer training less float32's, the 95 % interval's lower end
SIMULATED = 98.6  # % on sign digits with scheme 49kb, float32, in a C simulation (ANCHORS.md)
MANY = 1000  # saturations in a run
NOT_RUN = "not run"
Rows = list[list[str]]


def pages(tasks: Sequence[Task], results: Sequence[Result]) -> list[str]:
    """All parts, in order."""
    main = [r for r in results if not r.cell.validation]
    text = [f"## {task.title}\n\n{_facts(task, main)}\n\n{_task(task, main, results)}"
            for task in tasks]  # fmt: skip
    return [
        "## Summary\n\n" + _summary(tasks, main, results),
        *text,
        "## What each part is worth\n\n" + _ablation(tasks, main, results),
        "## How the rates were chosen\n\n" + _validation(tasks, results),
        "## What else was tried\n\n" + _others(tasks, results),
    ]


def comparison_of(task: Task, main: Iterable[Result], results: Sequence[Result]) -> list[Result]:
    """The task's own results: chosen rates, no changes, its own cases."""
    rates = {way: chosen(task, way, results)[0] for way in task.ways}
    return [
        r for r in main
        if not r.cell.changes and r.cell.case in task.cases and r.cell.way in rates
        and is_of(r.cell, task, r.cell.way) and r.cell.rate == rates[r.cell.way]
    ]  # fmt: skip


def of(results: Iterable[Result], way: str, engine: str) -> list[Result]:
    """Those of one way and engine."""
    return [r for r in results if (r.cell.way, r.cell.engine) == (way, engine)]


def same_run(cell: Cell) -> Hashable:
    """What a pair of engines has in common."""
    return (cell.task, cell.case, cell.way, cell.seed)


def engines(results: Sequence[Result]) -> list[Pair]:
    """Integer and float32, same plan, samples, order and rate."""
    return paired(
        [r for r in results if r.cell.engine == "integer"],
        [r for r in results if r.cell.engine == "float32"],
        same_run,
    )


def against_head(task: Task, results: Sequence[Result], way: str) -> list[Pair]:
    """A way and head only, both integer."""
    return paired(
        of(results, way, "integer"),
        of(results, "head only", "integer"),
        lambda cell: (cell.task, cell.case, cell.seed),
    )


def held(tasks: Sequence[Task], results: Sequence[Result]) -> dict[str, float | bool | None]:
    """The claims, as data; None where what they need was not run."""
    main = [r for r in results if not r.cell.validation]
    own = {task.name: comparison_of(task, main, results) for task in tasks}
    difference = pooled([pair for found in own.values() for pair in engines(found)])
    sparse = pooled([p for t in tasks for p in against_head(t, own[t.name], t.sparse)])
    signs = own.get("signs", [])
    scheme = over_seeds(of(signs, "sparse", "integer"), 1)
    return {
        "integer_less_float32": _number(difference.mean),
        "integer_less_float32_low": _number(difference.low),
        "integer_equals_float32": None if math.isnan(difference.low) else difference.low > BAR,
        "sparse_less_head_only": _number(sparse.mean),
        "sparse_beats_head_only": None if math.isnan(sparse.low) else sparse.low > 0,
        "signs_49kb": _number(scheme.mean),
        "signs_49kb_reaches_simulated": None if not scheme.n else scheme.mean >= SIMULATED,
    }


def _number(x: float) -> float | None:
    return None if math.isnan(x) else round(x, 3)


def _summary(tasks: Sequence[Task], main: list[Result], results: Sequence[Result]) -> str:
    rows: Rows = [["task", "integer less float32", "lower end", "pairs", "sparse less head only"]]
    everything: list[Pair] = []
    heads: list[Pair] = []
    for task in tasks:
        own = comparison_of(task, main, results)
        pairs, sparse = engines(own), against_head(task, own, task.sparse)
        everything += pairs
        heads += sparse
        rows.append([task.title, *_difference(pooled(pairs), len(pairs)), _gain(pooled(sparse))])
    total = pooled(everything)
    rows.append(["all", *_difference(total, len(everything)), _gain(pooled(heads))])
    signs = [t for t in tasks if t.name == "signs"]
    scheme = Interval.of([])
    if signs:
        own = comparison_of(signs[0], main, results)
        scheme = over_seeds(of(own, "sparse", "integer"), 1)
    wanted = len(SEEDS) * sum(len(task.ways) * len(task.cases) for task in tasks)
    part = "" if len(everything) >= wanted else f" on the {len(everything)} of {wanted} pairs run"
    verdict = _verdict(total.low > BAR) + part if total.n > 1 else NOT_RUN
    reached = _verdict(scheme.mean >= SIMULATED) if scheme.n else NOT_RUN
    lines = [
        _table(rows),
        "",
        "Points of accuracy, with half of the 95 % interval (Student's t). Pairs have case, plan, "
        "seed, order of samples and rate in common; those of one task and seed count as one "
        "observation, their mean.",
        "",
        f"- Integer training equals float32's (lower end above {BAR:+.1f}): "
        f"{_signed(total.mean)}, lower end {_signed(total.low)}: {verdict}.",
        f"- Sparse beats head only: {_gain(pooled(heads))} over all tasks.",
        f"- Sign digits, scheme 49kb: {_spread(scheme)}; simulated {SIMULATED} %: {reached}.",
        *_losers(tasks, main, results),
        *_broken(results),
    ]
    return "\n".join(lines)


def _broken(results: Sequence[Result]) -> list[str]:
    """Runs in which gradients saturated again and again, at whatever rate."""
    return [
        f"- Broke down, {r.saturations:,} gradients saturated: {r.cell.task}, {r.cell.way} at rate "
        f"{r.cell.rate:g}, {r.cell.warmup} steps of warm-up, integer: {r.after:.1f} %"
        f"{' (validation)' if r.cell.validation else ''}."
        for r in results
        if r.saturations > MANY and not r.cell.changes
    ]


def _losers(tasks: Sequence[Task], main: list[Result], results: Sequence[Result]) -> list[str]:
    """What is worse than it should be, by more than chance."""
    found = []
    for task in tasks:
        own = comparison_of(task, main, results)
        for way in task.ways:
            both = pooled(engines([r for r in own if r.cell.way == way]))
            if both.n > 1 and both.mean + both.half < 0:
                found.append(f"- Loses to float32: {task.title}, {way}: {_gain(both)}.")
            beside = pooled(against_head(task, own, way)) if way != "head only" else None
            if beside is not None and beside.n > 1 and beside.mean + beside.half < 0:
                found.append(f"- Loses to head only: {task.title}, {way}: {_gain(beside)}.")
            after, before = of(own, way, "integer"), [r.before for r in of(own, way, "integer")]
            worse = Interval.of(r.after - b for r, b in zip(after, before, strict=True))
            if worse.n > 1 and worse.mean < 0:
                found.append(f"- Loses to learning nothing: {task.title}, {way}: {_gain(worse)}.")
    return found


def _facts(task: Task, main: list[Result]) -> str:
    own = [r for r in main if r.cell.task == task.name]
    tests = {r.tests for r in own}
    facts = list(task.notes)
    if tests:
        each = "/".join(map(str, sorted(tests)))
        facts.append(f"{len(task.cases)} case(s), {each} test samples in each")
    return "; ".join(facts) + "."


def _task(task: Task, main: list[Result], results: Sequence[Result]) -> str:
    own = comparison_of(task, main, results)
    rows: Rows = [["what learns", "epochs", "rate", "integer %", "float32 %", "difference"]]
    before = over_seeds_before(own, len(task.cases))
    rows.append(["nothing", "", "", _spread(before), "", ""])
    for way in task.ways:
        rate, validated = chosen(task, way, results)
        integer, floats = of(own, way, "integer"), of(own, way, "float32")
        pairs = engines([*integer, *floats])
        rows.append(
            [
                way,
                str(task.ways[way].epochs),
                f"{rate:g}" + ("" if validated else " (not validated)"),
                _spread(over_seeds(integer, len(task.cases))),
                _spread(over_seeds(floats, len(task.cases))),
                _gain(pooled(pairs)) if pairs else NOT_RUN,
            ]
        )
    return _table(rows)


def over_seeds_before(results: Iterable[Result], cases: int) -> Interval:
    """Of the untrained network, by the integer engine, from the way that most seeds have."""
    found: dict[tuple[int, str], float] = {}
    for r in results:
        if r.cell.engine == "integer":
            found.setdefault((r.cell.seed, r.cell.case), r.before)
    seeds = {seed for seed, _ in found}
    means = [[v for (s, _), v in found.items() if s == seed] for seed in sorted(seeds)]
    return Interval.of(sum(m) / len(m) for m in means if len(m) == cases)


def _ablation(tasks: Sequence[Task], main: list[Result], results: Sequence[Result]) -> str:
    shown = [t for t in tasks if any(t.name in variant.tasks for variant in VARIANTS)]
    rows: Rows = [
        ["variant", *(title for t in shown for title in (f"{t.name} %", "less the first"))]
    ]
    for variant in VARIANTS:
        row = [variant.title]
        for task in shown:
            row += _variant(task, variant, main, results)
        rows.append(row)
    note = (
        f"The way “{ABLATED}”, at its rate; where rates are tried, the best by its test accuracy "
        "(a favour to that variant). Where the scaling is taken away, the rate is that at which "
        "the mean weight moves as with it, times 0.1, 1 and 10."
    )
    return f"{_table(rows)}\n\n{note}"


def _variant(
    task: Task, variant: Variant, main: list[Result], results: Sequence[Result]
) -> list[str]:
    if task.name not in variant.tasks:
        return ["", ""]
    rate = chosen(task, ABLATED, results)[0]
    cases = (variant.case,) if variant.case else task.cases
    base = of(comparison_of(task, main, results), ABLATED, "integer")
    best: tuple[Interval, Interval] | None = None
    for factor in variant.rates:
        found = [
            r for r in main
            if is_of(r.cell, task, ABLATED) and r.cell.case in cases
            and r.cell.engine == variant.engine and same_changes(r.cell, variant)
            and r.cell.rate == rate * factor
        ]  # fmt: skip
        accuracy = over_seeds(found, len(cases))
        pairs = paired(found, base, lambda c: (c.seed,) if variant.case else (c.case, c.seed))
        if accuracy.n and (best is None or accuracy.mean > best[0].mean):
            best = accuracy, pooled(pairs)
    if best is None:
        return [NOT_RUN, ""]
    return [_spread(best[0]), _gain(best[1])]


def _validation(tasks: Sequence[Task], results: Sequence[Result]) -> str:
    rows: Rows = [["task", "what learns", "rates: validation accuracy %", "chosen"]]
    for task in tasks:
        for way in task.ways:
            rate, validated = chosen(task, way, results)
            tried = []
            for candidate in sorted(task.ways[way].rates):
                found = [
                    r.after for r in results
                    if r.cell.validation and is_of(r.cell, task, way) and r.cell.rate == candidate
                ]  # fmt: skip
                value = f"{sum(found) / len(found):.1f}" if found else NOT_RUN
                tried.append(f"{candidate:g}: {value}")
            mark = "" if validated else " (not validated)"
            rows.append([task.title, way, ", ".join(tried), f"{rate:g}{mark}"])
    note = (
        "Learnt by the integer engine from four fifths of the training samples (watch: from the "
        "first half of them in time) and measured on the rest, one seed; test samples are not "
        "looked at. Float32 takes the same rate."
    )
    return f"{_table(rows)}\n\n{note}"


def _others(tasks: Sequence[Task], results: Sequence[Result]) -> str:
    """Results of settings or rates that are not those of the tables above."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for task in tasks:
        for r in results:
            cell = r.cell
            if cell.task != task.name or cell.changes or cell.case not in task.cases:
                continue
            way = task.ways.get(cell.way)
            shown = way is not None and is_of(cell, task, cell.way)
            rates = () if way is None else way.rates if cell.validation else (
                chosen(task, cell.way, results)[0],)  # fmt: skip
            if shown and cell.rate in rates:
                continue
            where = "validation" if cell.validation else "test"
            key = (task.name, cell.way, cell.engine, f"{cell.rate:g}", str(cell.epochs),
                   str(cell.warmup), where)  # fmt: skip
            groups.setdefault(key, []).append(r)
    if not groups:
        return "Nothing."
    rows: Rows = [["task", "what learns", "engine", "rate", "epochs", "warm-up", "samples",
                   "%", "runs", "saturations"]]  # fmt: skip
    for name, found in groups.items():
        mean = Interval.of(r.after for r in found)
        text = f"{mean.mean:.1f}" + (f" ± {mean.deviation:.1f}" if mean.n > 1 else "")
        clamped = f"{sum(r.saturations for r in found):,}"
        rows.append([*name, text, str(len(found)), clamped])
    return f"{_table(rows)}\n\nSettings that were left behind; ± over runs, cases included."


def _difference(found: Interval, pairs: int) -> list[str]:
    if not found.n:
        return [NOT_RUN, "", "0"]
    return [_gain(found), _signed(found.low), str(pairs)]


def _gain(found: Interval) -> str:
    if not found.n:
        return NOT_RUN
    return _signed(found.mean) + ("" if math.isnan(found.half) else f" ± {found.half:.2f}")


def _spread(found: Interval) -> str:
    """Mean ± standard deviation over seeds, and how many where they are not all."""
    if not found.n:
        return NOT_RUN
    text = f"{found.mean:.1f}"
    if found.n > 1:
        text += f" ± {found.deviation:.1f}"
    return text if found.n >= len(SEEDS) else f"{text} ({found.n} of {len(SEEDS)} seeds)"


def _signed(x: float) -> str:
    return NOT_RUN if math.isnan(x) else f"{x:+.2f}"


def _verdict(holds: bool) -> str:
    return "holds" if holds else "does not hold"


def _table(rows: Rows) -> str:
    head, *body = rows
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
