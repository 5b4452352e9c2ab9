"""Reports about what a device did: predictions, training, accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinykit.codegen.manifest import Port
from tinykit.report.report import Column, JsonValue, Report, Table, numbers
from tinykit.session import Accuracy, Deviation, Inference, TrainedStep

SHOWN_STEPS = 20
SHOWN_VALUES = 8
MOST_ROLLBACKS = 255


def running_report(url: str) -> Report:
    """Where a running device can be reached."""
    lines = (f"running; talk to it with: tinykit eval --port {url}", "Ctrl-C ends it")
    return Report({"url": url}, lines)


def inference_report(
    results: Sequence[Inference], names: Sequence[str] = (), ports: Sequence[Port] = ()
) -> Report:
    """The predicted class of each sample, with the device's output for it.

    Of a model with several outputs (`ports`): their values, the first few of them in the table.
    """
    if len(ports) > 1:
        return _values_report(results, ports)
    rows = tuple(
        (
            str(index),
            _class(result.prediction, names),
            "" if result.label is None else _class(result.label, names),
            f"{result.outputs[result.prediction if result.outputs.size > 1 else 0]:.4g}",
        )
        for index, result in enumerate(results)
    )
    table = Table(numbers("sample", "prediction", "label", "output"), rows)
    data = [
        {
            "prediction": result.prediction,
            "label": result.label,
            "outputs": [float(value) for value in result.outputs],
        }
        for result in results
    ]
    return Report({"samples": data}, (table,))


def _values_report(results: Sequence[Inference], ports: Sequence[Port]) -> Report:
    rows, data = [], list[JsonValue]()
    for index, result in enumerate(results):
        found: dict[str, JsonValue] = {}
        for port in ports:
            values = result.outputs[port.offset : port.offset + port.bytes]
            found[port.name] = [float(value) for value in values]
            text = " ".join(f"{value:.4g}" for value in values[:SHOWN_VALUES])
            rows.append((str(index), port.name, text + " …" * (len(values) > SHOWN_VALUES)))
        data.append({"outputs": found})
    columns = (*numbers("sample"), Column("output"), Column("values"))
    return Report({"samples": data}, (Table(columns, tuple(rows)),))


def accuracy_report(accuracy: Accuracy | Deviation, names: Sequence[str] = ()) -> Report:
    """Accuracy overall, and per class: how often it came, was right, and what it was taken for.

    Of outputs that are values: their mean squared error.
    """
    if isinstance(accuracy, Deviation):
        line = f"{_measure(accuracy)} on the device: {_sentence(accuracy)}"
        return Report(_facts(accuracy), (line,))
    labels, predictions = np.array(accuracy.labels), np.array(accuracy.predictions)
    rows = []
    classes: list[dict[str, JsonValue]] = []
    for label in sorted(set(accuracy.labels)):
        given = predictions[labels == label]
        wrong = given[given != label]
        most = int(np.bincount(wrong).argmax()) if len(wrong) else None
        right = len(given) - len(wrong)
        taken = "" if most is None else _class(most, names)
        share = f"{100 * right / len(given):.1f} %"
        rows.append((_class(label, names), str(len(given)), share, taken))
        classes.append({"class": label, "samples": len(given), "correct": right, "taken_for": most})
    columns = numbers("class", "samples", "right", "else mostly")
    return Report(
        {**_facts(accuracy), "classes": classes},
        (Table(columns, tuple(rows)), f"{_measure(accuracy)} on the device: {_sentence(accuracy)}"),
    )


def training_report(
    steps: Sequence[TrainedStep],
    before: Accuracy | Deviation | None = None,
    after: Accuracy | Deviation | None = None,
) -> Report:
    """How the loss went over the steps (in up to 20 stretches), and accuracy around them."""
    stretch = max(1, math.ceil(len(steps) / SHOWN_STEPS))
    labelled = all(step.label is not None for step in steps)
    rows = []
    for start in range(0, len(steps), stretch):
        part = steps[start : start + stretch]
        row = [f"{start + 1} to {start + len(part)}", f"{np.mean([s.loss for s in part]):.4f}"]
        if labelled:
            right = sum(step.prediction == step.label for step in part)
            row.append(f"{100 * right / len(part):.0f} %")
        rows.append(tuple(row))
    titles = ("mean loss", *(("right before the update",) if labelled else ()))
    parts: list[Table | str] = [Table((Column("steps"), *numbers(*titles)), tuple(rows))]
    saturations = steps[-1].saturations if steps else 0
    skipped = steps[-1].skipped if steps else 0
    rollbacks = steps[-1].rollbacks if steps else 0
    parts.append(
        f"{len(steps)} steps on the device, {saturations} saturated gradients"
        + (f", {skipped} skipped" if skipped else "")
        + (f"; the guard went back {_times(rollbacks)}" if rollbacks else "")
    )
    if before and after:
        parts.append(f"{_measure(before)} on the device before: {_sentence(before)}")
        parts.append(f"{_measure(after)} on the device after:  {_sentence(after)}")
    return Report(
        {
            "steps": [vars(step) for step in steps],
            "before": _facts(before) if before else None,
            "after": _facts(after) if after else None,
        },
        tuple(parts),
    )


def _facts(found: Accuracy | Deviation) -> dict[str, JsonValue]:
    if isinstance(found, Deviation):
        return {
            "samples": found.samples,
            "mean_squared_error": found.mean_squared,
            "right_outputs": found.right,
        }
    return {"samples": len(found.labels), "correct": found.correct, "accuracy": found.share}


def _measure(found: Accuracy | Deviation) -> str:
    return "accuracy" if isinstance(found, Accuracy) else "mean squared error"


def _sentence(found: Accuracy | Deviation) -> str:
    if isinstance(found, Deviation):
        right = "" if found.right is None else f", {100 * found.right:.1f} % of the outputs right"
        return f"{found.mean_squared:.6g} ({found.samples} samples{right})"
    return f"{100 * found.share:.1f} % ({found.correct} of {len(found.labels)} samples)"


def _times(count: int) -> str:
    """As the device counts them, in 8 bits."""
    return "once" if count == 1 else f"{count} times" + " or more" * (count == MOST_ROLLBACKS)


def _class(number: int, names: Sequence[str]) -> str:
    """Its name where it has one, else its number."""
    return names[number] if number < len(names) else str(number)
