"""`tinykit verify`: what was compared, and what differed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tinykit.report.report import Column, Report, Table, numbers

if TYPE_CHECKING:
    from tinykit.verify import VerifyResult


def verification_report(result: VerifyResult) -> Report:
    """The verdict, and every trained tensor's differing bits."""
    rows = tuple(
        (tensor.layer, tensor.name, f"{tensor.bits:,}", f"{tensor.differing:,}")
        for tensor in result.tensors
    )
    columns = (*map(Column, ("layer", "trained tensor")), *numbers("bits", "differing"))
    total = ("all", "", f"{result.compared_bits:,}", f"{result.differing_bits:,}")
    compared = "every operator's output, " if result.traced else ""
    lines = [
        f"after {result.steps} training steps and {result.inferences} inferences "
        f"({compared}all predictions and losses compared; {result.saturations} saturations):",
        *(
            [f"{result.heard} inputs made of recordings by the frontend on the device compared"]
            if result.heard
            else []
        ),
        f"{result.differing_bits} differing bits: the device "
        f"{'equals' if result.equal else 'does not equal'} the host reference",
    ]
    tables = (Table(columns, rows, total=total),) if rows else ()
    return Report({"equal": result.equal, **asdict(result)}, (*tables, *lines))
