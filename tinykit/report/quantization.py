"""`tinykit quantize`: what quantization to int8 cost, overall and per layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tinykit.report.report import Column, JsonValue, Report, Table, numbers

if TYPE_CHECKING:
    from tinykit.compress.quantize import LayerError, QuantizationReport


def quantization_report(result: QuantizationReport) -> Report:
    """Accuracy before and after, and the error of every layer."""
    columns = (
        *map(Column, ("layer", "operator")),
        *numbers("signal to noise", "worst error", "clipped"),
    )
    table = Table(columns, tuple(_row(layer) for layer in result.layers))
    lines = [
        f"{result.out}: {result.bytes_int8:,} B (float: {result.bytes_float:,} B), "
        f"ranges from {result.samples} samples",
        f"same prediction as the float model: {100 * result.agreement:.1f} % of "
        f"{result.evaluated} samples",
    ]
    if result.accuracy_float is not None and result.accuracy_int8 is not None:
        lost = 100 * (result.accuracy_float - result.accuracy_int8)
        lines.append(
            f"accuracy: float {100 * result.accuracy_float:.2f} %, {result.activations} "
            f"{100 * result.accuracy_int8:.2f} % (loss {lost:.2f} points)"
        )
    if result.warning:
        lines.append(f"note: {result.warning}")
    tables = (table,) if result.layers else ()
    return Report(_json(result.as_dict()), (*tables, *lines))


def _row(layer: LayerError) -> tuple[str, ...]:
    clipped = f"{100 * layer.clipped:.2f} %" if layer.clipped else ""
    return (
        layer.name,
        layer.operator,
        f"{layer.signal_to_noise:.1f} dB",
        f"{layer.worst:.1f} steps",
        clipped,
    )


def _json(data: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """JSON has no infinity: such a ratio is null."""
    layers = data["layers"]
    assert isinstance(layers, tuple | list)
    ratio = "signal_to_noise"
    finite = [
        {**layer, ratio: layer[ratio] if math.isfinite(layer[ratio]) else None} for layer in layers
    ]
    return {**data, "layers": finite}
