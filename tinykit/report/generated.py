"""Reports about generated code and update plans: what is exact before anything is compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinykit.report.report import Column, JsonValue, Report, Table, numbers
from tinykit.report.search import search_data, search_table

if TYPE_CHECKING:
    from tinykit.build.bounds import MemoryPlan
    from tinykit.codegen.manifest import Manifest
    from tinykit.ir import Graph
    from tinykit.ops.target import TargetForm
    from tinykit.report.curve import Curve
    from tinykit.training.plan import Guard, Plan
    from tinykit.training.search import Found


METHODS = {"sgd": "SGD", "adam": "Adam"}


def generated_report(manifest: Manifest, memory: MemoryPlan, folder: Path) -> Report:
    """Where the C is, and the memory it will take."""
    return Report(
        {"directory": str(folder), **_facts(manifest, memory)},
        (
            f"{folder}/{manifest.name}.c: model {manifest.name}, identity {manifest.identity[:8]}, "
            f"{'learns' if manifest.trains else 'only infers'}",
            *_memory_parts(manifest, memory),
            arena_line(manifest),
        ),
    )


def arena_line(manifest: Manifest) -> str:
    """How large the arena is, and whether it could be smaller."""
    arena, bound = manifest.memory.sram["arena"], manifest.arena_bound
    return f"arena {arena:,} B; liveness bound {bound:,} B: {manifest.arena_proof}"


def plan_report(
    graph: Graph,
    plan: Plan | None,
    manifest: Manifest,
    memory: MemoryPlan | None = None,
    written: Path | None = None,
    curve: Curve | None = None,
    found: Found | None = None,
    fixed: Sequence[str] = (),
) -> Report:
    """What learns in which layer, what runs row by row, and what that costs in MACs and memory.

    Without `memory` (the board's plan) only the exact part is told.  fixed: layers of a resampled
    plan that keep their channels.
    """
    learning, layers = learning_parts(graph, plan) if plan is not None else ((), [])
    lines = (
        *learning,
        *_memory_parts(manifest, memory),
        *_streaming(manifest),
        *((curve.table(),) if curve else ()),
        *((search_table(found), _found_line(found)) if found else ()),
        *(
            (f"first channels, as no others can be brought to the front: {', '.join(fixed)}",)
            if fixed
            else ()
        ),
        *((f"written to {written}",) if written else ()),
    )
    return Report(
        {
            "plan": plan.model_dump(mode="json") if plan else None,
            "layers": layers,
            "written": str(written) if written else None,
            "segments": [segment.model_dump(mode="json") for segment in manifest.segments],
            "curve": curve.data() if curve else None,
            "fixed_channels": list(fixed),
            "search": search_data(found) if found else None,
            **_facts(manifest, memory),
        },
        lines,
    )


def _found_line(found: Found) -> str:
    cost = found.cost
    return (
        f"found: {found.contribution:.1%} of what all parameters together would contribute, "
        f"about {cost.instructions:,} instructions a step"
    )


def learning_parts(graph: Graph, plan: Plan) -> tuple[tuple[Table | str, ...], list[JsonValue]]:
    """The plan and its layers, as lines and as data."""
    from tinykit.training.adapters import add_adapters
    from tinykit.training.loss import form_of
    from tinykit.training.plan import trainable_layers

    numbers_of = {op.name: str(index) for index, op in enumerate(trainable_layers(graph))}
    graph, settled = add_adapters(graph, plan.resolve(graph), None, plan.optimizer.seed)
    rows: list[tuple[str, ...]] = []
    layers: list[JsonValue] = []
    for op in trainable_layers(graph):
        choice = settled[op.name]
        weights = graph[op.inputs[1]]
        trained = weights.size // weights.shape[-1] * choice.channels
        if choice.trains:
            channels = f"{choice.channels} of {weights.shape[-1]}" if choice.channels else ""
            bias = "yes" if choice.bias else ""
            number = numbers_of.get(op.name, "")  # adapters have none
            rows.append((number, op.name, op.kind, bias, channels, f"{trained:,}"))
        layers.append(
            {
                "layer": op.name,
                "bias": choice.bias,
                "channels": choice.channels,
                "weights": trained,
            }
        )
    columns = (
        *numbers("layer"),
        *map(Column, ("name", "operator", "bias")),
        *numbers("weight channels", "weights"),
    )
    optimizer = plan.optimizer
    lines = (
        f"plan {plan.name}: {METHODS[optimizer.method]}, learning rate "
        f"{optimizer.learning_rate:g} "
        f"({optimizer.schedule}), {optimizer.accumulate} sample(s) per update, "
        f"{optimizer.master} weights",
        *((_guard_line(plan.guard, form_of(graph, plan.training)),) if plan.guard else ()),
        Table(columns, tuple(rows), title="What learns"),
    )
    return lines, layers


def _guard_line(guard: Guard, form: TargetForm) -> str:
    """When it goes back, and what that changes."""
    from tinykit.training.guard import mean_floor, mean_limit

    limit = mean_limit(guard, form)
    limits = [f"{limit:.3g}"] if limit else []
    if guard.factor:
        floor = mean_floor(guard, form)
        least = f" (or {floor:.3g})" if floor else ""
        limits.append(f"{guard.factor:g} times the best such mean{least}")
    slower = (
        "" if guard.rate_factor == 1 else f", and the learning rate times {guard.rate_factor:g}"
    )
    return (
        f"guard: back to a snapshot where the mean loss of {guard.window} steps is above "
        f"{' or '.join(limits)}{slower}"
    )


def _streaming(manifest: Manifest) -> tuple[Table | str, ...]:
    """What runs row by row, and how good the arena is."""
    proof = arena_line(manifest)
    if not manifest.segments:
        return (proof, "all layers run one after the other, none row by row")
    rows = tuple(
        (
            _ACTION[segment.function],
            segment.first,
            segment.last,
            str(segment.ops),
            " ".join(f"{rows}" for rows in segment.rings.values()),
            f"{segment.bytes:,}",
        )
        for segment in manifest.segments
    )
    columns = (
        *map(Column, ("what", "first layer", "last layer")),
        *numbers("layers"),
        Column("rows in memory of each tensor"),
        *numbers("B"),
    )
    return (proof, Table(columns, rows, title="Segments that run row by row"))


def _facts(manifest: Manifest, memory: MemoryPlan | None) -> dict[str, JsonValue]:
    return {
        "name": manifest.name,
        "identity": manifest.identity,
        "trains": manifest.trains,
        "sram": manifest.memory.sram,
        "arena_bound": manifest.arena_bound,
        "arena_proof": manifest.arena_proof,
        "flash": manifest.memory.flash,
        "bounds": planned_data(memory) if memory else None,
        "macs": manifest.macs,
        "parameter_bytes": manifest.parameter_bytes,
        "save_bytes": manifest.save_bytes,
    }


def planned_data(memory: MemoryPlan) -> dict[str, JsonValue]:
    """The bounds on what comes on top of the exact part, and the sums."""
    bounds = memory.bounds
    return {
        "code": bounds.code,
        "runtime": bounds.bss,
        "stack": bounds.stack,
        "sram_total": memory.sram_bytes,
        "flash_total": memory.flash_bytes,
        "measured": bounds.measured,
    }


def _memory_parts(manifest: Manifest, memory: MemoryPlan | None) -> tuple[Table | str, ...]:
    macs = ", ".join(f"{count:,} per {_ACTION.get(n, n)}" for n, count in manifest.macs.items())
    return (
        *(_exact_and_bounded(memory) if memory else _exact(manifest)),
        f"multiply-accumulates: {macs}",
        f"{manifest.parameter_bytes:,} B of parameters learn; "
        f"what was learnt is saved in {manifest.save_bytes:,} B"
        if manifest.trains
        else "nothing learns: give a plan to build a training engine",
    )


def _exact(manifest: Manifest) -> tuple[Table, ...]:
    memories = (("SRAM, exact", manifest.memory.sram), ("flash, exact", manifest.memory.flash))
    return tuple(
        _memory(title, items, {}, ("all", f"{sum(items.values()):,}")) for title, items in memories
    )


def _exact_and_bounded(memory: MemoryPlan) -> tuple[Table | str, ...]:
    bounds, board = memory.bounds, memory.board
    runtime = {"runtime": bounds.bss, "stack": bounds.stack}
    sram = (f"all, of {board.sram:,}", f"≤ {memory.sram_bytes:,}")
    flash = (f"all, of {board.flash:,}", f"≤ {memory.flash_bytes:,}")
    return (
        _memory("SRAM", memory.sram, runtime, sram),
        _memory("flash", memory.flash, {"code": bounds.code}, flash),
        f"bounds (≤) for {bounds.measured}",
    )


_ACTION = {"infer": "inference", "train": "training step"}


def _memory(
    title: str, exact: Mapping[str, int], bounds: Mapping[str, int], total: tuple[str, str]
) -> Table:
    rows = [(name, f"{count:,}") for name, count in exact.items()]
    rows += [(name, f"≤ {count:,}") for name, count in bounds.items()]
    return Table((Column(title), *numbers("B")), tuple(rows), total=total)
