"""What was measured, as tables to read and as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.measuring.anchors import Verdict, cmsis_nn
from bench.measuring.cycles import LEFT_OUT, published
from bench.measuring.inference import Measured
from bench.measuring.peers import Peer
from tinykit.boards import Board
from tinykit.report.report import Column, JsonValue, Table, numbers

MOST = 12  # rows of a histogram


def data(
    board: Board, results: Sequence[Measured], held: Sequence[Verdict], others: Sequence[Peer]
) -> dict[str, JsonValue]:
    """What --json prints. Bytes, instructions, cycles; null where there is no figure."""
    table = published(board.cpu)
    found: dict[str, Any] = {
        "board": board.name,
        "flags": results[0].flags[0] if results else "",
        "cycle_table": table.title if table else None,
        "models": [_model(board, result) for result in results],
    }
    if held:
        found["bars"] = [
            {"model": v.model, "what": v.what, "found": v.found, "bar": v.most, "aim": v.aim,
             "met": v.met}
            for v in held
        ]  # fmt: skip
    if others:
        found["peers"] = [other.data() for other in others]
    return found


def _model(board: Board, result: Measured) -> dict[str, Any]:
    memory = result.memory
    return {
        "model": result.name,
        "macs": result.macs,
        "macs_after_passes": result.macs_left,
        "instructions": result.instructions,
        "cycles": result.cycles,
        "arena_bytes": memory.arena,
        "sram_bytes": memory.sram,
        "firmware_sram_bytes": memory.firmware_sram,
        "flash_code_bytes": memory.flash_code,
        "flash_weight_bytes": memory.flash_weights,
        "firmware_flash_bytes": memory.firmware_flash,
        "elf_flash_bytes": memory.elf_flash,
        "parameter_bytes": memory.parameters,
        "variable_bytes": memory.variables,
        "stack_bytes": memory.stack,
        "exact": result.exact,
        "samples": len(result.samples),
        "instructions_of_samples": list(result.samples),
        "instructions_spread": result.spread,
        "instructions_worst_case": result.worst,
        "cmsis_nn_instructions": cmsis_nn(board.cpu, result.name),
        "histogram": {
            name: {"executed": executed, "cycles": cycles}
            for name, (executed, cycles) in result.histogram.items()
        },
        "flags": list(result.flags),
        "schedule": list(result.schedule),
        "layers": [
            {"layer": layer.name, "operator": layer.kind, "macs": layer.macs,
             "instructions": layer.instructions, "cycles": layer.cycles}
            for layer in result.layers
        ],
    }  # fmt: skip


def parts(
    board: Board, results: Sequence[Measured], held: Sequence[Verdict], others: Sequence[Peer]
) -> tuple[Table | str, ...]:
    """What a person reads."""
    found: list[Table | str] = []
    for result in results:
        found += [_layers(result), "schedule:", *(f"  {line}" for line in result.schedule), ""]
        if result.histogram:
            found.append(_histogram(result))
    found += [_summary(board, results), _memory(results)]
    if held:
        found.append(_bars(board, held))
    if others:
        found.append(_peers(results, others))
    table = published(board.cpu)
    found += [
        *(f"flags: {flags}" for flags in dict.fromkeys(f for r in results for f in r.flags)),
        f"cycles: {f'{table.title}; {LEFT_OUT}' if table else f'none published for {board.core}'}",
        "sram: what the model adds to a firmware: arena with resident input and output, "
        "parameters, state, variables, and the deepest stack of infer()",
        "between inputs: instructions of the dearest of the samples less those of the cheapest "
        "(noise, quiet noise, all -128, all 127, both in turn); worst case: whatever depends on "
        "data goes the long way",
        "CMSIS-NN: 99f736a, -O3, counted on the same machine",
    ]  # fmt: skip
    return tuple(found)


def _layers(result: Measured) -> Table:
    columns = (Column("layer"), Column("operator"),
               *numbers("MACs", "instructions", "per MAC", "cycles"))  # fmt: skip
    rows = tuple(
        (x.name, x.kind, f"{x.macs:,}" if x.macs else "", *_cost(x.macs, x.instructions, x.cycles))
        for x in result.layers
        if x.instructions
    )
    cost = _cost(result.macs_left, result.instructions, result.cycles)
    total = ("total", "", f"{result.macs_left:,}", *cost)
    return Table(columns, rows, f"{result.name} on {result.board}", total)


def _histogram(result: Measured) -> Table:
    """The instructions that cost most; what is above one cycle each is where cycles can be won."""
    columns = (Column("instruction"), *numbers("executed", "cycles", "beyond 1 each"))
    costly = sorted(result.histogram.items(), key=lambda item: -item[1][1])
    rows = tuple(
        (name, f"{executed:,}", f"{cycles:,}", f"{cycles - executed:,}")
        for name, (executed, cycles) in costly[:MOST]
    )
    return Table(columns, rows, f"{result.name}: the {MOST} instructions that cost most")


def _cost(macs: int, instructions: int, cycles: int | None) -> tuple[str, str, str]:
    rate = f"{instructions / macs:.2f}" if macs else ""
    return f"{instructions:,}", rate, _number(cycles)


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _summary(board: Board, results: Sequence[Measured]) -> Table:
    folded = any(result.macs_left != result.macs for result in results)
    columns = (
        Column("model"),
        *numbers(
            "MACs", *(["after passes"] if folded else []), "instructions", "per MAC", "cycles"
        ),
        *numbers("between inputs", "worst case"),
        *numbers("arena", "sram", "flash code", "weights"),
        Column("exact"),
        *numbers("CMSIS-NN", "of CMSIS-NN"),
    )
    rows = []
    for result in results:
        peer = cmsis_nn(board.cpu, result.name)
        memory = result.memory
        rows.append(
            (
                result.name,
                f"{result.macs:,}",
                *([f"{result.macs_left:,}"] if folded else []),
                *_cost(result.macs, result.instructions, result.cycles),
                f"{result.spread:,}",
                _number(result.worst),
                *map(_number, (memory.arena, memory.sram, memory.flash_code, memory.flash_weights)),
                f"yes, {len(result.samples)} samples" if result.exact else "NO",
                _number(peer),
                f"{100 * result.instructions / peer:.0f} %" if peer else "",
            )
        )
    return Table(columns, tuple(rows), f"{board.name} ({board.core}), bytes")


def _memory(results: Sequence[Measured]) -> Table:
    """The parts that add up to the ELF."""
    columns = (
        Column("model"),
        *numbers("arena", "parameters", "variables", "stack of infer()", "sram", "all SRAM of ELF"),
        *numbers("flash code", "weights", "firmware's own", "all flash of ELF"),
    )
    rows = tuple(
        (
            result.name,
            *(
                f"{size:,}"
                for m in (result.memory,)
                for size in (m.arena, m.parameters, m.variables, m.stack, m.sram, m.firmware_sram,
                             m.flash_code, m.flash_weights, m.firmware_flash, m.elf_flash)
            ),
        )
        for result in results
    )  # fmt: skip
    return Table(columns, rows, "memory, bytes")


def _peers(results: Sequence[Measured], others: Sequence[Peer]) -> Table:
    """Engines from PyPI; beside each count, ours as a share of it."""
    own = {result.name: result.instructions for result in results}
    columns = (
        Column("engine"),
        Column("model"),
        *numbers("instructions", "ours of its"),
        Column("said"),
    )
    rows = []
    for peer in others:
        share = f"{100 * own[peer.model] / peer.instructions:.0f} %" if peer.instructions else ""
        rows.append((peer.engine, peer.model, _number(peer.instructions), share, peer.said))
    return Table(columns, tuple(rows), "peers from PyPI")


def _bars(board: Board, held: Sequence[Verdict]) -> Table:
    columns = (Column("model"), Column("figure"), *numbers("found", "bar", "aim"), Column(""))
    rows = tuple(
        (v.model, v.what, _number(v.found), _number(v.most), _number(v.aim),
         "met" if v.met else "missed")
        for v in held
    )  # fmt: skip
    return Table(columns, rows, f"bars for {board.core}")
