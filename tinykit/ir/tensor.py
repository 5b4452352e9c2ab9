"""Tensors and their quantization."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
DType = Literal["int8", "uint8", "int16", "int32", "int64", "float32"]
Storage = Literal["arena", "flash", "parameters", "state"]
Order = Literal["plain", "pairs"]

ITEM_BYTES: dict[DType, int] = {
    "int8": 1, "uint8": 1, "int16": 2, "int32": 4, "int64": 8, "float32": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Quantization:
    """real = scale * (integer - zero_point), per tensor or per channel along `axis`.

    Scales are float32 values (as TFLite stores them) held exactly in Python floats. A gradient
    tensor (int16 block floating point) has one scale that is a power of two and zero point 0.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        if len(self.scale) != len(self.zero_point) or not self.scale:
            raise ValueError("scale and zero_point must have the same length, at least one")

    @classmethod
    def per_tensor(cls, scale: float, zero_point: int = 0) -> Quantization:
        return cls((float(scale),), (int(zero_point),))

    @property
    def per_channel(self) -> bool:
        return len(self.scale) > 1

    @property
    def scale0(self) -> float:
        return self.scale[0]

    @property
    def zero_point0(self) -> int:
        return self.zero_point[0]

    @property
    def exponent(self) -> int:
        """The e of a power-of-two scale 2**e."""
        mantissa, exponent = math.frexp(self.scale0)
        if mantissa != 0.5 or self.per_channel:
            raise ValueError(f"scale {self.scale0} is not a power of two")
        return exponent - 1


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named array of a graph.

    `storage` says where it lives: "arena" (scratch SRAM, only during a run), "flash" (constant,
    `data` given), "parameters" (what learns, in SRAM) or "state" (the model's variables in SRAM,
    kept from one run to the next); of both the latter `data` is the initial value.

    `order` says how its elements lie in memory: "plain", the last axis fastest; or "pairs", for the
    weights [O, …] of convolutions: two output channels at a time, position by position, w[o][p],
    w[o + 1][p], w[o][p + 1], …, an odd number of channels or of positions filled up with zeros.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    quantization: Quantization | None = None
    storage: Storage = "arena"
    data: Array | None = None
    order: Order = "plain"

    def __post_init__(self) -> None:
        if self.data is not None and (
            tuple(self.data.shape) != self.shape or self.data.dtype != np.dtype(self.dtype)
        ):
            raise ValueError(
                f"tensor {self.name}: data is {self.data.dtype}{list(self.data.shape)}, "
                f"declared {self.dtype}{list(self.shape)}"
            )

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def stored_size(self) -> int:
        """Number of elements in memory, those that fill up included."""
        if self.order == "plain":
            return self.size
        channels = self.shape[0]
        return _even(channels) * _even(self.size // channels)

    @property
    def bytes(self) -> int:
        return self.stored_size * ITEM_BYTES[self.dtype]

    def stored(self, values: Array) -> Array:
        """Values of the tensor's shape as they lie in memory: [stored_size]."""
        if self.order == "plain":
            return np.ascontiguousarray(values).reshape(-1)
        rows = values.reshape(self.shape[0], -1)
        filled = np.zeros((_even(rows.shape[0]), _even(rows.shape[1])), rows.dtype)
        filled[: rows.shape[0], : rows.shape[1]] = rows
        return filled.reshape(-1, 2, filled.shape[1]).transpose(0, 2, 1).reshape(-1)

    def restored(self, memory: Array) -> Array:
        """The values of the tensor's shape, of what lies in memory: the inverse of `stored`."""
        if self.order == "plain":
            return memory.reshape(self.shape)
        channels, positions = self.shape[0], self.size // self.shape[0]
        filled = memory.reshape(-1, _even(positions), 2).transpose(0, 2, 1)
        rows = filled.reshape(-1, _even(positions))
        return np.ascontiguousarray(rows[:channels, :positions]).reshape(self.shape)

    @property
    def quant(self) -> Quantization:
        """The quantization of a tensor that must have one."""
        if self.quantization is None:
            raise ValueError(f"tensor {self.name} is not quantized")
        return self.quantization

    @property
    def value(self) -> Array:
        """The data of a tensor that must have some."""
        if self.data is None:
            raise ValueError(f"tensor {self.name} has no data")
        return self.data

    @property
    def constant(self) -> bool:
        return self.storage == "flash"

    def with_data(self, data: Array) -> Tensor:
        return replace(self, data=data)


def _even(n: int) -> int:
    return n + n % 2
