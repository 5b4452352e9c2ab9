"""The shapes of matrix products for C: sums of products of elements by strides in both factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykit.ops.base import Field, Table


@dataclass(frozen=True)
class Contraction:
    """y[batch][row][column] = sum of a * b over two more axes.

    size, a, b: of the axes batch, row, column, outer sum, inner sum: how many, and the elements
    between neighbours in a and in b.
    """

    size: tuple[int, int, int, int, int]
    a: tuple[int, int, int, int, int]
    b: tuple[int, int, int, int, int]

    @property
    def fields(self) -> dict[str, Field]:
        """The members that C descriptors have for it."""
        return {
            "size": Table("uint32_t", np.array(self.size, np.uint32)),
            "stride_a": Table("uint32_t", np.array(self.a, np.uint32)),
            "stride_b": Table("uint32_t", np.array(self.b, np.uint32)),
        }


@dataclass(frozen=True)
class Matrix:
    """How a matrix of a product lies in memory: elements between batches, rows and columns."""

    batch: int
    row: int
    column: int

    @classmethod
    def of(cls, shape: tuple[int, ...], transposed: bool, batches: int) -> Matrix:
        """Of a tensor [..., rows, columns] (transposed: [..., columns, rows]); a tensor with one
        batch where there are several serves them all."""
        height, width = shape[-2:]
        batch = height * width if int(np.prod(shape[:-2])) == batches else 0
        return cls(batch, 1, width) if transposed else cls(batch, width, 1)
