"""What the ONNX importer knows of a value: its codes, and in which orders of axes it is there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from tinykit.importers.onnx_file import OnnxNode
from tinykit.ir import Array

Order = tuple[int, ...]  # stored axis i is ONNX's axis order[i]


@dataclass(frozen=True)
class Codes:
    """real = scale · (code - zero_point), codes int8."""

    scale: float
    zero_point: int

    def of(self, real: float) -> int:
        """The code of a real number, as QuantizeLinear rounds it."""
        return int(np.clip(np.rint(np.float32(real) / np.float32(self.scale)) + self.zero_point,
                           -128, 127))  # fmt: skip


@dataclass
class Value:
    """A quantized tensor: its index in each order of axes in which it is there already.

    shape, data: in ONNX's order of axes; data: int8 codes of a constant;
    channel_scales: (axis, scales) of a constant quantized per channel.
    """

    name: str
    shape: tuple[int, ...]
    codes: Codes
    stored: dict[Order, int] = field(default_factory=dict)
    data: Array | None = None
    channel_scales: tuple[int, tuple[float, ...]] | None = None
    fixed: bool = False  # TFLite prescribes the codes of its maker's output
    flat: Value | None = None  # what it is a flattened form of, while nobody has asked for it

    gate_of: Value | None = None  # of what it is the HardSigmoid, which only HardSwish may use

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def order(self) -> Order:
        """The order of axes in which it is best read."""
        if self.stored:
            return next(iter(self.stored))
        return channels_last(self.rank) if self.rank == 4 else tuple(range(self.rank))


def channels_last(rank: int) -> Order:
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


def layer_name(node: OnnxNode) -> str:
    """ "/layer1/layer1.0/conv1/Conv" gives "layer1_0_conv1"; "/Add_1" gives "Add_1"."""
    parts = [part for part in node.name.split("/") if part] or [node.outputs[0]]
    if len(parts) > 1 and re.fullmatch(rf"{re.escape(node.operator)}(_\d+)?", parts[-1]):
        numbered = parts[-1][len(node.operator) :]
        parts = [*parts[:-2], parts[-2] + numbered]  # fmt: skip
    kept = [
        part for part, after in zip(parts, [*parts[1:], ""], strict=True)
        if not after.startswith(f"{part}.")
    ]  # fmt: skip
    return re.sub(r"\W+", "_", "_".join(kept)).strip("_")
