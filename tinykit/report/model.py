"""`tinykit inspect`: what a model is made of and what it costs, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tinykit.ir import Graph, Op, Tensor
from tinykit.ops.registry import operator
from tinykit.passes import shrink, simplify
from tinykit.passes.explain import PassEffect, Work, explain, work
from tinykit.passes.ports import input_places, output_places
from tinykit.report.operators import TITLES, operator_row, operators_table
from tinykit.report.report import Column, JsonValue, Report, Table, numbers
from tinykit.schedule import Program, schedule
from tinykit.units import format_size

if TYPE_CHECKING:
    from tinykit.build.bounds import MemoryPlan


OUTSIDE = ("arena", "state")  # what is not constant


@dataclass(frozen=True)
class LayerCost:
    """What one op of a model costs.

    macs: multiply-accumulates; parameters: constant elements; flash: their bytes;
    live: bytes of the arena that hold something while the op runs.
    """

    op: Op
    output: Tensor
    macs: int
    parameters: int
    flash: int
    live: int


def layer_costs(program: Program) -> list[LayerCost]:
    """Cost of each op in execution order."""
    graph = program.graph
    costs = []
    for op, live in zip(graph.ops, program.live(), strict=True):
        constants = [graph[name] for name in op.reads if graph[name].storage not in OUTSIDE]
        costs.append(
            LayerCost(
                op,
                graph[(op.outputs or op.updates)[0]],
                operator(op.kind).cost(graph, op).macs,
                sum(tensor.size for tensor in constants),
                sum(tensor.bytes for tensor in constants),
                live,
            )
        )
    return costs


def inspect_report(
    imported: Graph,
    memory: Mapping[str, Sequence[MemoryPlan]],
    learns: frozenset[str] = frozenset(),
    learning: tuple[Sequence[Table | str], Sequence[JsonValue]] | None = None,
) -> Report:
    """What passes take away, the layers that are left, and what each board has room for.

    `memory` maps what the firmware does ("infers", "learns") to its memory on each board;
    `learns` names the layers that learn, which no pass may shrink; `learning` tells of them, and of
    the adapters beside them, as tinykit.report.generated.learning_parts does.
    """
    before, effects = work(imported), explain(imported, learns)
    graph = shrink(simplify(imported), learns)
    program = schedule(graph)
    costs = layer_costs(program)
    flash = sum(t.bytes for t in graph.tensors.values() if t.storage not in OUTSIDE)
    inputs = [place.tensor for place in input_places(graph)]
    outputs = [place.tensor for place in output_places(graph)]
    parts: list[Table | str] = [
        f"{graph.name}: {before.ops} operators, {len(graph.ops)} after passes",
        *(f"input  {_tensor(tensor)}" for tensor in inputs),
        *(f"output {_tensor(tensor)}" for tensor in outputs),
        "",
        *([_passes(before, effects)] if effects else []),
        _layers(costs, flash, program),
        *_arena(program),
        operators_table(operator(op.kind) for op in graph.ops),
        *(learning[0] if learning else ()),
        *(_boards(does, plans) for does, plans in memory.items()),
    ]
    data: dict[str, JsonValue] = {
        "name": graph.name,
        "inputs": [_tensor_data(tensor) for tensor in inputs],
        "outputs": [_tensor_data(tensor) for tensor in outputs],
        "file": asdict(before),
        "passes": [{"pass": effect.name, **asdict(effect.removed)} for effect in effects],
        "layers": [_layer_data(cost) for cost in costs],
        "macs": sum(cost.macs for cost in costs),
        "parameters": sum(cost.parameters for cost in costs),
        "flash": flash,
        "arena": program.arena_bytes,
        "arena_bound": program.bound_bytes,
        "arena_proof": program.proof,
        "segments": [
            {
                "first": graph.ops[s.first].name,
                "last": graph.ops[s.last].name,
                "rings": dict(s.rings),
            }
            for s in program.streamed
        ],
        "operators": [
            dict(zip(TITLES, operator_row(operator(kind)), strict=True))
            for kind in sorted({op.kind for op in graph.ops})
        ],
        "learning": None if learning is None else list(learning[1]),
        "boards": [
            {"does": does, **_board_data(plan)} for does, plans in memory.items() for plan in plans
        ],
    }
    return Report(data, tuple(parts))


def _passes(before: Work, effects: Sequence[PassEffect]) -> Table:
    """What each pass takes away; a minus says that it adds."""
    rows = tuple(
        (
            effect.name.replace("_", " "),
            *map(_count, (effect.removed.ops, effect.removed.macs, effect.removed.flash)),
        )
        for effect in effects
    )
    left = before
    for effect in effects:
        left = left - effect.removed
    total = ("left", f"{left.ops:,}", f"{left.macs:,}", f"{left.flash:,}")
    columns = (Column("pass"), *numbers("operators", "MACs", "flash B"))
    return Table(columns, rows, title="Taken away by passes", total=total)


def _layers(costs: Sequence[LayerCost], flash: int, program: Program) -> Table:
    columns = (
        *numbers("#"),
        *map(Column, ("operator", "layer", "output", "scale @ zero point")),
        *numbers("MACs", "parameters", "flash B", "live SRAM B"),
    )
    rows = tuple(
        (
            str(index),
            cost.op.kind,
            cost.op.name,
            _shape(cost.output),
            _quantization(cost.output),
            _count(cost.macs),
            _count(cost.parameters),
            _count(cost.flash),
            f"{cost.live:,}",
        )
        for index, cost in enumerate(costs)
    )
    total = (
        "", "", "all", "", "",
        f"{sum(cost.macs for cost in costs):,}",
        f"{sum(cost.parameters for cost in costs):,}",
        f"{flash:,}",
        f"arena {program.arena_bytes:,}",
    )  # fmt: skip
    return Table(columns, rows, total=total)


def _arena(program: Program) -> list[str]:
    """How good the arena is, and what runs row by row in it."""
    names = [op.name for op in program.graph.ops]
    return [
        f"arena {program.arena_bytes:,} B; liveness bound {program.bound_bytes:,} B: "
        f"{program.proof}",
        *(f"{names[s.first]} to {names[s.last]} run row by row" for s in program.streamed),
    ]


def _boards(does: str, plans: Sequence[MemoryPlan]) -> Table:
    rows = tuple(
        (
            plan.board.name,
            f"≤ {plan.sram_bytes:,}",
            format_size(plan.board.sram),
            f"≤ {plan.flash_bytes:,}",
            format_size(plan.board.flash),
            "yes" if _fits(plan) else "no",
        )
        for plan in plans
    )
    columns = (
        Column("board"),
        *numbers("SRAM B", "of", "flash B", "of"),
        Column("fits"),
    )
    return Table(columns, rows, title=f"Firmware that {does}")


def _fits(plan: MemoryPlan) -> bool:
    return plan.sram_bytes <= plan.board.sram and plan.flash_bytes <= plan.board.flash


def _board_data(plan: MemoryPlan) -> dict[str, JsonValue]:
    return {
        "board": plan.board.name,
        "sram": plan.sram_bytes,
        "sram_budget": plan.board.sram,
        "flash": plan.flash_bytes,
        "flash_budget": plan.board.flash,
        "fits": _fits(plan),
    }


def _tensor(tensor: Tensor) -> str:
    return f"{tensor.name}: {tensor.dtype} {_shape(tensor)}, {_quantization(tensor) or 'unscaled'}"


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))


def _quantization(tensor: Tensor) -> str:
    if tensor.quantization is None:
        return ""
    if tensor.quantization.per_channel:
        return "a scale for each feature"
    return f"{tensor.quantization.scale0:.6g} @ {tensor.quantization.zero_point0}"


def _count(value: int) -> str:
    return f"{value:,}" if value else ""


def _tensor_data(tensor: Tensor) -> dict[str, JsonValue]:
    quantization = tensor.quantization
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "scale": None if quantization is None else list(quantization.scale),
        "zero_point": None if quantization is None else list(quantization.zero_point),
    }


def _layer_data(cost: LayerCost) -> dict[str, JsonValue]:
    return {
        "operator": cost.op.kind,
        "layer": cost.op.name,
        "output": _tensor_data(cost.output),
        "macs": cost.macs,
        "parameters": cost.parameters,
        "flash": cost.flash,
        "live": cost.live,
    }
