"""The doctor's list as a report."""

from __future__ import annotations

from dataclasses import asdict

from tinykit.doctor import Diagnosis
from tinykit.report.report import Column, Report, Table


def doctor_report(diagnosis: Diagnosis) -> Report:
    """What is installed, what is missing, what to do."""
    rows = tuple(
        (
            check.group if first else "",
            "ok" if check.found else "missing" if check.required else "-",
            check.name,
            check.found or check.get,
            check.needed,
        )
        for check, first in zip(diagnosis.checks, _first_of_group(diagnosis), strict=True)
    )
    columns = tuple(map(Column, ("", "", "what", "found, or how to get it", "for")))
    verdict = (
        "Ready: models can be built into firmware and run on an emulator."
        if diagnosis.ready
        else "Not ready:\n" + "\n".join(f"  {problem}" for problem in diagnosis.problems)
    )
    return Report(
        {
            "ready": diagnosis.ready,
            "problems": list(diagnosis.problems),
            "checks": [asdict(check) for check in diagnosis.checks],
        },
        (Table(columns, rows), verdict),
    )


def _first_of_group(diagnosis: Diagnosis) -> list[bool]:
    groups = [check.group for check in diagnosis.checks]
    return [index == 0 or groups[index - 1] != group for index, group in enumerate(groups)]
