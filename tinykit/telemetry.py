"""What training says of itself, step by step, as CSV and for TensorBoard."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tinykit.codegen.manifest import Manifest
from tinykit.errors import TinykitError, UsageError
from tinykit.link.messages import Step, Telemetry

CSV = "steps.csv"
COLUMNS = (
    "step", "label", "prediction", "loss", "saturated", "saturations", "skipped", "updated",
    "rollbacks", "cycles", "instructions",
)  # fmt: skip
GRAPHS = tuple(name for name in COLUMNS if name not in ("step", "label", "prediction"))


class StepLog:
    """Writes `folder`/steps.csv and a TensorBoard event file; a step is on disk when `add` returns.

    Columns are COLUMNS, then for each trained tensor `updated/NAME`, how many of its weights or
    biases the step changed, and `ratio/NAME`, the update-to-weight ratio: sum of |change of the
    master| / sum of |weight|, both in integer steps, the weights as they are after the step. A cell
    is empty where there is no figure: no label, a core without cycle counter, a target that does
    not count instructions.

    Raises UsageError if there is a log in `folder` already; TinykitError without tensorboardX, and
    when the disk is full.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._manifest = manifest
        self.path = folder / CSV
        if self.path.exists():
            raise UsageError(f"{self.path} exists", "give --log another folder: nothing is lost")
        proto, writer = _tensorboard()
        self._event = proto.Event
        names = [p.name for p in manifest.trained]
        self._columns = [*COLUMNS, *(f"{kind}/{n}" for n in names for kind in ("updated", "ratio"))]
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = self.path.open("w", newline="", encoding="utf-8")
            self._rows = csv.DictWriter(self._file, self._columns)
            self._rows.writeheader()
            self._file.flush()
            self._events = writer(str(folder / "events"))
            self._events.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes both files. What could not be written has been reported already."""
        for file in (self._file, self._events):
            try:
                file.close()
            except OSError:
                continue

    def add(
        self,
        step: Step,
        telemetry: Telemetry,
        *,
        label: int | None = None,
        instructions: int | None = None,
    ) -> None:
        """One more row."""
        row: dict[str, float | int | None] = {
            "step": step.step,
            "label": label,
            "prediction": step.prediction if step.prediction >= 0 else None,
            "loss": step.loss,
            "saturated": telemetry.saturated,
            "saturations": step.saturations,
            "skipped": step.skipped,
            "updated": step.updated,
            "rollbacks": step.rollbacks,
            "cycles": telemetry.cycles or None,
            "instructions": instructions,
        }
        for trained, change in zip(self._manifest.trained, telemetry.changes, strict=True):
            total = self._manifest.units(trained) * change.magnitude
            row[f"updated/{trained.name}"] = change.updated
            row[f"ratio/{trained.name}"] = change.moved / total if total else None
        with self._writing():
            self._rows.writerow(row)
            self._file.flush()
            self._events.write_event(self._scalars(step.step, row))
            self._events.flush()

    def _scalars(self, step: int, row: Mapping[str, float | int | None]) -> Any:
        event = self._event(wall_time=time.time(), step=step)
        for name, value in row.items():
            if value is not None and (name in GRAPHS or "/" in name):
                event.summary.value.add(tag=name, simple_value=float(value))
        if row["label"] is not None:
            right = float(row["label"] == row["prediction"])
            event.summary.value.add(tag="right", simple_value=right)
        return event

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TinykitError(
                f"{self.path.parent}: the log cannot be written: {error.strerror}",
                "the rows before are there, and the device keeps what it has learnt",
            ) from None


def _tensorboard() -> tuple[Any, Any]:
    """(the module of event messages, the class that writes a file of them)."""
    try:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2
    except ImportError:
        raise TinykitError(
            "--log writes TensorBoard files with tensorboardX, which is not installed",
            "pip install 'tinykit-mcu[tensorboard]'",
        ) from None
    return event_pb2, EventsWriter
