"""The paper's three backbones with all update schemes that were published for them.

Each is compiled, run for a few steps on QEMU and compared with the host. What does not fit the
board's budget is built all the same, in the memory that the emulated machine has.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from bench.measuring.models import shared_models
from bench.measuring.progress import Stages
from bench.measuring.subject import BACKBONES, network_of, plan_of, schemes
from bench.measuring.training import build, compared, counted, prepare
from bench.measuring.training_bars import PAPER
from tinykit.boards import Board
from tinykit.errors import TinykitError, UsageError
from tinykit.host import HostModel
from tinykit.report.report import Column, JsonValue, Report, Table, numbers

STEPS = 3


@dataclass(frozen=True)
class Scheme:
    """One backbone with one scheme. Bytes of the whole ELF; `link` of them are the variables of the
    firmware that serves the serial link; `fits` the board's budget. `failed` says why there are no
    figures, or where device and host differ first."""

    network: str
    scheme: str
    sram: int = 0
    arena: int = 0
    parameters: int = 0
    link: int = 0
    flash: int = 0
    macs: int = 0
    instructions: int = 0
    fits: bool = False
    equal: bool = False
    steps: int = 0
    failed: str = ""


def run(board: Board, work: Path, quick: bool, samples: str | None, stages: Stages) -> list[Scheme]:
    """All of them, or the first scheme of each backbone. Raises UsageError."""
    whole = replace(board, sram=board.sram_physical, flash=board.flash_physical)
    models = [shared_models() / name for name in BACKBONES]
    todo = [(m, scheme) for m in models for scheme in schemes(m)[: 1 if quick else None]]
    found = []
    for index, (model, scheme) in enumerate(todo):
        network = network_of(model)
        stages.stage(f"{network} {scheme}")
        stages.advance(index, len(todo))
        folder = work / f"{network}-{scheme}"
        try:
            found.append(_scheme(model, scheme, board, whole, folder, samples))
        except UsageError:
            raise
        except TinykitError as error:  # of one scheme: the others are measured all the same
            found.append(Scheme(network, scheme, failed=error.message))
        shutil.rmtree(folder / "firmware" / ".pio", ignore_errors=True)
    return found


def _scheme(
    model: Path, scheme: str, board: Board, whole: Board, work: Path, samples: str | None
) -> Scheme:
    subject = prepare(model, plan_of(f"tte:{scheme}", model), work, samples)
    firmware = build(subject, whole, work / "firmware")
    instructions = counted(subject, firmware, whole)[0]
    verified = compared(subject, firmware, whole, HostModel(subject.generated), STEPS)
    sram, flash = firmware.report.sram, firmware.report.flash
    items = firmware.report.kinds("sram")
    return Scheme(
        network=network_of(model),
        scheme=scheme,
        sram=sram,
        arena=items.get("arena", 0),
        parameters=items.get("parameters", 0),
        link=items.get("firmware", 0),
        flash=flash,
        macs=subject.manifest.macs["train"],
        instructions=instructions,
        fits=sram <= board.sram and flash <= board.flash,
        equal=verified.equal,
        steps=verified.steps,
        failed=str(verified.difference or ""),
    )


def report(board: Board, results: list[Scheme]) -> Report:
    """One row a scheme; the paper's figures of the network beside it."""
    columns = (
        Column("network"), Column("scheme"),
        *numbers("SRAM B", "arena", "parameters", "link"),
        *numbers("flash B", "MACs", "instructions", "per MAC"),
        Column("fits"), Column("host = device"),
        *numbers("paper: full KB", "sparse", "reordered", "ms on F746"),
    )  # fmt: skip
    rows = tuple(
        (x.network, x.scheme, *_cells(x), *(f"{figure:,}" for figure in PAPER[x.network]))
        for x in results
    )
    table = Table(columns, rows, f"published schemes on {board.name} ({board.core})")
    paper = {name: dict(zip(("full_kb", "sparse_kb", "sparse_reordered_kb", "ms_stm32f746"),
                            figures, strict=True)) for name, figures in PAPER.items()}  # fmt: skip
    data: dict[str, JsonValue] = {
        "board": board.name,
        "paper": paper,
        "schemes": [
            {"network": x.network, "scheme": x.scheme, "sram_bytes": x.sram, "arena_bytes": x.arena,
             "parameter_bytes": x.parameters, "link_bytes": x.link,
             "flash_bytes": x.flash, "macs_per_step": x.macs,
             "instructions_per_step": x.instructions, "fits": x.fits,
             "host_equals_device": x.equal, "steps": x.steps, "failed": x.failed}
            for x in results
        ],
    }  # fmt: skip
    lines = (
        f"SRAM: the whole ELF, stack included; fits: {board.sram:,} B of SRAM and "
        f"{board.flash:,} B of flash",
        "link: where what was learnt does not fit into the arena, a buffer of its size for loading",
        "paper: peak SRAM of activations, weights and gradients, one figure a network",
    )
    return Report(data, (table, *lines))


def _cells(x: Scheme) -> tuple[str, ...]:
    if not x.macs:
        return *[""] * 9, f"NO: {x.failed}"
    sram = (x.sram, x.arena, x.parameters, x.link)
    figures = (*sram, x.flash, x.macs, x.instructions)
    return (
        *(f"{figure:,}" for figure in figures),
        f"{x.instructions / x.macs:.2f}",
        "yes" if x.fits else "no",
        f"yes, {x.steps} steps" if x.equal else f"NO: {x.failed}",
    )
