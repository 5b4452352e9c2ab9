"""Reports about what a device did: predictions, training, accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinykit.report.report import Column, JsonValue, Report, Table, numbers
from tinykit.session import Accuracy, Inference, TrainedStep

SHOWN_STEPS = 20


def running_report(url: str) -> Report:
    """Where a running device can be reached."""
    lines = (f"running; talk to it with: tinykit eval --port {url}", "Ctrl-C ends it")
    return Report({"url": url}, lines)


def inference_report(results: Sequence[Inference]) -> Report:
    """The predicted class of each sample, with the device's output for it."""
    rows = tuple(
        (
            str(index),
            str(result.prediction),
            "" if result.label is None else str(result.label),
            f"{result.outputs[result.prediction]:.4g}",
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


def accuracy_report(accuracy: Accuracy) -> Report:
    """Accuracy overall, and per class: how often it came, was right, and what it was taken for."""
    labels, predictions = np.array(accuracy.labels), np.array(accuracy.predictions)
    rows = []
    classes: list[dict[str, JsonValue]] = []
    for label in sorted(set(accuracy.labels)):
        given = predictions[labels == label]
        wrong = given[given != label]
        most = int(np.bincount(wrong).argmax()) if len(wrong) else None
        right = len(given) - len(wrong)
        rows.append((str(label), str(len(given)), f"{100 * right / len(given):.1f} %", _text(most)))
        classes.append({"class": label, "samples": len(given), "correct": right, "taken_for": most})
    columns = numbers("class", "samples", "right", "else mostly")
    return Report(
        {**_facts(accuracy), "classes": classes},
        (Table(columns, tuple(rows)), f"accuracy on the device: {_sentence(accuracy)}"),
    )


def training_report(
    steps: Sequence[TrainedStep],
    before: Accuracy | None = None,
    after: Accuracy | None = None,
) -> Report:
    """How the loss went over the steps (in up to 20 stretches), and accuracy around them."""
    stretch = max(1, math.ceil(len(steps) / SHOWN_STEPS))
    rows = []
    for start in range(0, len(steps), stretch):
        part = steps[start : start + stretch]
        right = sum(step.prediction == step.label for step in part)
        rows.append(
            (
                f"{start + 1} to {start + len(part)}",
                f"{np.mean([step.loss for step in part]):.4f}",
                f"{100 * right / len(part):.0f} %",
            )
        )
    parts: list[Table | str] = [
        Table((Column("steps"), *numbers("mean loss", "right before the update")), tuple(rows))
    ]
    saturations = steps[-1].saturations if steps else 0
    skipped = steps[-1].skipped if steps else 0
    parts.append(
        f"{len(steps)} steps on the device, {saturations} saturated gradients"
        + (f", {skipped} skipped" if skipped else "")
    )
    if before and after:
        parts.append(f"accuracy on the device before: {_sentence(before)}")
        parts.append(f"accuracy on the device after:  {_sentence(after)}")
    return Report(
        {
            "steps": [vars(step) for step in steps],
            "before": _facts(before) if before else None,
            "after": _facts(after) if after else None,
        },
        tuple(parts),
    )


def _facts(accuracy: Accuracy) -> dict[str, JsonValue]:
    return {
        "samples": len(accuracy.labels),
        "correct": accuracy.correct,
        "accuracy": accuracy.share,
    }


def _sentence(accuracy: Accuracy) -> str:
    samples = len(accuracy.labels)
    return f"{100 * accuracy.share:.1f} % ({accuracy.correct} of {samples} samples)"


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
