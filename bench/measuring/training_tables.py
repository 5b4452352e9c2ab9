"""What was measured of training, as tables to read and as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.measuring.gradients import Gradients, Pair
from bench.measuring.training import OpCost, Trained
from bench.measuring.training_bars import (
    TTE_FLASH,
    TTE_INSTRUCTIONS,
    TTE_SRAM,
    Bar,
    like_tte,
)
from tinykit.report.report import Column, JsonValue, Table, numbers

PHASES = ("forward", "loss", "backward", "update")


def data(result: Trained, held: Sequence[Bar]) -> dict[str, JsonValue]:
    """What --json prints. Bytes, instructions; null where there is no figure."""
    near, drift, memory = result.gradients, result.drift, result.memory
    found: dict[str, Any] = {
        "model": result.name,
        "plan": result.plan,
        "board": result.board.name,
        "flags": list(result.flags),
        "samples": result.source,
        "macs_per_step": result.macs["train"],
        "instructions_per_step": result.instructions,
        "sram_bytes": memory.sram,
        "flash_bytes": memory.flash,
        "min_gradient_cosine": near.min_cosine,
        "weight_drift": drift.worst if drift else None,
        "host_equals_device": result.verified.equal,
        "norm_ratio": list(near.ratios),
        "zero_norm_tensors": [
            {"tensor": pair.tensor, "photo": pair.photo, "state": pair.state} for pair in near.zero
        ],
        "worst_gradient": _pair(near.worst),
        "gradients": [
            {"tensor": name, "min_cosine": low, "norm_ratio": [*ratios], "zero": zero}
            for name, low, ratios, zero in _by_tensor(near)
        ],
        "gradient_photos": near.photos,
        "gradient_steps": near.steps,
        "gradient_saturations": near.saturations,
        "mean_weight_move": drift.move if drift else None,
        "truncating_weight_drift": drift.truncated if drift else None,
        "drift_learning_rate": drift.rate if drift else None,
        "drift_steps": drift.steps if drift else None,
        "drifts": [vars(tensor) for tensor in drift.tensors] if drift else [],
        "compared_steps": result.verified.steps,
        "compared_bits": result.verified.compared_bits,
        "first_difference": _difference(result),
        "saturations": result.verified.saturations,
        "sram_items": dict(memory.sram_items),
        "flash_items": dict(memory.flash_items),
        "phases": {name: dict(zip(("macs", "instructions"), sums, strict=True))
                   for name, sums in _phases(result.ops).items()},
        "layers": [
            {"layer": x.layer, "op": x.op, "operator": x.kind, "phase": x.phase, "macs": x.macs,
             "instructions": x.instructions}
            for x in result.ops
        ],
    }  # fmt: skip
    if held:
        found["bars"] = [
            {"what": bar.what, "found": bar.found, "least": bar.least, "most": bar.most,
             "aim": bar.aim, "met": bar.met}
            for bar in held
        ]  # fmt: skip
    return found


def parts(result: Trained, held: Sequence[Bar]) -> tuple[Table | str, ...]:
    """What a person reads."""
    found: list[Table | str] = [_layers(result), _kinds(result), _memory(result)]
    found += [_gradients(result.gradients)]
    if result.drift:
        found.append(_drift(result))
    found.append(_summary(result))
    if held:
        found.append(_bars(held))
    near = result.gradients
    found += [
        f"samples: {result.source}",
        f"gradients: {near.photos} samples once each, fresh head and after {near.steps} steps, "
        f"against float64; worst {near.worst.tensor} on {near.worst.photo}, {near.worst.state}",
        *(f"zero gradient: {pair.tensor} on {pair.photo}, {pair.state}" for pair in near.zero),
        *(f"flags: {flags}" for flags in result.flags[:1]),
    ]
    return tuple(found)


def _phases(ops: Sequence[OpCost]) -> dict[str, tuple[int, int]]:
    """(MACs, instructions) by phase; what belongs to no op is "around"."""
    found = {}
    for phase in (*PHASES, ""):
        own = [op for op in ops if op.phase == phase]
        found[phase or "around"] = (sum(x.macs for x in own), sum(x.instructions for x in own))
    return found


def _rate(instructions: int, macs: int) -> str:
    return f"{instructions / macs:.2f}" if macs else ""


def _layers(result: Trained) -> Table:
    """One row a layer, its phases side by side."""
    shown = ("forward", "backward", "update")
    names = [f"{phase} {what}" for phase in shown for what in ("MACs", "instr.", "per MAC")]
    columns = (Column("layer"), Column("operator"), *numbers(*names, "instructions"))
    rows = []
    for layer in dict.fromkeys(op.layer for op in result.ops):
        own = [op for op in result.ops if op.layer == layer]
        cells = [_cells([op for op in own if op.phase == phase]) for phase in shown]
        total = sum(op.instructions for op in own)
        if total:
            flat = [cell for group in cells for cell in group]
            rows.append((layer, own[0].kind, *flat, f"{total:,}"))
    sums = [_cells([op for op in result.ops if op.phase == phase]) for phase in shown]
    flat = [cell for group in sums for cell in group]
    title = f"{result.name}, {result.plan}, on {result.board.name}: one training step"
    total_row = ("total", "", *flat, f"{result.instructions:,}")
    return Table(columns, tuple(rows), title, total_row)


def _cells(ops: Sequence[OpCost]) -> tuple[str, str, str]:
    macs, instructions = sum(op.macs for op in ops), sum(op.instructions for op in ops)
    return (
        f"{macs:,}" if macs else "",
        f"{instructions:,}" if instructions else "",
        _rate(instructions, macs),
    )


def _kinds(result: Trained) -> Table:
    """One row a phase and operator."""
    columns = (Column("phase"), Column("operator"), *numbers("ops", "MACs", "instructions",
               "per MAC", "share"))  # fmt: skip
    rows = []
    for phase in PHASES:
        for kind in sorted({op.kind for op in result.ops if op.phase == phase}):
            own = [op for op in result.ops if (op.phase, op.kind) == (phase, kind)]
            if any(op.instructions for op in own):
                rows.append((phase, kind, *_sums(own, result.instructions)))
    for op in result.ops:
        if not op.phase:
            rows.append(("", op.op, *_sums([op], result.instructions)))
    totals = ("total", "", *_sums(result.ops, result.instructions))
    return Table(columns, tuple(rows), "by operator", totals)


def _sums(ops: Sequence[OpCost], all_instructions: int) -> tuple[str, ...]:
    share = sum(op.instructions for op in ops) / all_instructions
    macs, instructions, rate = _cells(ops)
    return str(len(ops)), macs, instructions, rate, f"{100 * share:.1f} %"


def _memory(result: Trained) -> Table:
    columns = (Column("memory"), Column("item"), *numbers("bytes"))
    memory = result.memory
    rows = [("SRAM", kind, f"{size:,}") for kind, size in memory.sram_items.items()]
    rows.append(("SRAM", "everything", f"{memory.sram:,}"))
    rows += [("flash", kind, f"{size:,}") for kind, size in memory.flash_items.items()]
    rows.append(("flash", "everything", f"{memory.flash:,}"))
    return Table(columns, tuple(rows), "the whole ELF, stack included")


def _by_tensor(near: Gradients) -> list[tuple[str, float | None, tuple[float, ...], int]]:
    """By tensor: smallest cosine, smallest and largest ratio, times that it was 0."""
    found: list[tuple[str, float | None, tuple[float, ...], int]] = []
    for name, pairs, zero in near.tensors():
        cosines = [pair.cosine for pair in pairs if pair.cosine is not None]
        ratios = [pair.ratio for pair in pairs if pair.ratio is not None]
        found.append(
            (name, min(cosines, default=None), (min(ratios), max(ratios)) if ratios else (), zero)
        )
    return found


def _pair(pair: Pair) -> Mapping[str, JsonValue]:
    return {"tensor": pair.tensor, "photo": pair.photo, "state": pair.state,
            "cosine": pair.cosine, "norm_ratio": pair.ratio}  # fmt: skip


def _gradients(near: Gradients) -> Table:
    columns = (Column("trained tensor"), *numbers("min cosine", "min ratio", "max ratio", "zero"))
    rows = tuple(
        (
            name,
            "" if low is None else f"{low:.6f}",
            *(f"{ratio:.4f}" for ratio in (ratios or ())),
            *("" for _ in range(0 if ratios else 2)),
            str(zero) if zero else "",
        )
        for name, low, ratios, zero in _by_tensor(near)
    )
    low, high = near.ratios
    total = ("all", f"{near.min_cosine:.6f}", f"{low:.4f}", f"{high:.4f}", str(len(near.zero)))
    return Table(columns, rows, "gradients against float64", total)


def _drift(result: Trained) -> Table:
    assert result.drift is not None
    columns = (Column("trained weights"), *numbers("drift", "if truncated", "float64's own",
               "mean |Δw| a step"))  # fmt: skip
    drift = result.drift
    rows = tuple(
        (x.tensor, f"{100 * x.drift:+.3f} %", f"{100 * x.truncated:+.1f} %",
         f"{100 * x.diffused:+.2f} %", f"{x.move:.3f}")
        for x in drift.tensors
    )  # fmt: skip
    title = f"Σ|w| after {drift.steps} steps of zero-mean noise, against float64 SGD"
    return Table(columns, rows, f"{title}, rate {drift.rate:.2g}")


def _difference(result: Trained) -> str | None:
    if result.verified.equal:
        return None
    difference = result.verified.difference
    return str(difference) if difference else f"{result.verified.differing_bits} bits differ"


def _summary(result: Trained) -> Table:
    """The figures of the issue, one a row; TTE's beside them where they are of the same thing."""
    peer = like_tte(result)
    near, drift, verified = result.gradients, result.drift, result.verified
    tte = (f"{TTE_INSTRUCTIONS:,}", f"{TTE_SRAM:,}", f"{TTE_FLASH:,}", "down to −0.7", "",
           "−36 … −42 %", "not possible") if peer else ("",) * 7  # fmt: skip
    equal = f"yes, {verified.steps} steps, {verified.compared_bits // 8:,} B of parameters"
    rows = (
        ("instructions per step", f"{result.instructions:,}"),
        ("SRAM, everything, B", f"{result.memory.sram:,}"),
        ("flash, B", f"{result.memory.flash:,}"),
        ("smallest gradient cosine", f"{near.min_cosine:.6f}"),
        ("ratio of gradient norms", "{:.4f} … {:.4f}".format(*near.ratios)),
        ("weight drift", f"{100 * drift.worst:+.3f} %" if drift else "no weights learn"),
        ("host equals device", equal if verified.equal else f"NO: {_difference(result)}"),
    )
    columns = (Column("figure"), Column("found", "right"), *(numbers("TTE's") if peer else ()))
    cells = [(*row, *((other,) if peer else ())) for row, other in zip(rows, tte, strict=True)]
    return Table(columns, tuple(cells), "summary")


def _bars(held: Sequence[Bar]) -> Table:
    columns = (Column("figure"), *numbers("found", "at least", "at most", "aim"), Column(""))
    rows = tuple(
        (bar.what, *map(_number, (bar.found, bar.least, bar.most, bar.aim)),
         "met" if bar.met else "missed")
        for bar in held
    )  # fmt: skip
    return Table(columns, rows, "bars")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
