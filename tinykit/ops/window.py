"""Sliding windows: the geometry that convolutions and pools share, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinykit.ir import Array
from tinykit.ops.base import Struct
from tinykit.ops.rows import Reach

Pair = tuple[int, int]


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    """TFLite's SAME: (before, after) along one axis; the odd pixel goes after."""
    reach = (kernel - 1) * dilation + 1
    output = -(-size // stride)
    total = max((output - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Window:
    """kernel, stride, dilation as (height, width); padding as (top, bottom, left, right)."""

    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def output_size(self, height: int, width: int) -> Pair:
        top, bottom, left, right = self.padding
        reach_h = (self.kernel[0] - 1) * self.dilation[0] + 1
        reach_w = (self.kernel[1] - 1) * self.dilation[1] + 1
        return (
            (height + top + bottom - reach_h) // self.stride[0] + 1,
            (width + left + right - reach_w) // self.stride[1] + 1,
        )

    @property
    def pointwise(self) -> bool:
        """Whether each output sees the input pixel in its own place and nothing else."""
        return self.kernel == self.stride == (1, 1) and not any(self.padding)

    @property
    def row_reach(self) -> Reach:
        """The input rows that an output row sees."""
        span = (self.kernel[0] - 1) * self.dilation[0] + 1
        return Reach(self.stride[0], self.padding[0], span)

    def overlaps(self, input_size: Pair, output_size: Pair) -> bool:
        """Whether every output sees some of the input; False for dilated windows."""
        for axis in range(2):
            reach = (self.kernel[axis] - 1) * self.dilation[axis]
            first = -self.padding[2 * axis]
            last = first + (output_size[axis] - 1) * self.stride[axis]
            if first + reach < 0 or last >= input_size[axis]:
                return False
        return self.dilation == (1, 1)

    def patches(self, x: Array, fill: float = 0) -> Array:
        """x [H, W, C] -> [OH, OW, KH, KW, C]: what each output sees; padding reads `fill`."""
        height, width = x.shape[:2]
        top, bottom, left, right = self.padding
        padded = np.pad(x, ((top, bottom), (left, right), (0, 0)), constant_values=fill)
        rows, columns = self._indices(height, width)
        return padded[rows[:, None, :, None], columns[None, :, None, :], :]

    def scatter(self, patches: Array, height: int, width: int) -> Array:
        """The transpose of `patches`: adds [OH, OW, KH, KW, C] back into [H, W, C]."""
        top, bottom, left, right = self.padding
        out = np.zeros((height + top + bottom, width + left + right, patches.shape[-1]))
        rows, columns = self._indices(height, width)
        for ky in range(self.kernel[0]):
            for kx in range(self.kernel[1]):  # no output row or column meets itself here
                out[np.ix_(rows[:, ky], columns[:, kx])] += patches[:, :, ky, kx, :]
        return out[top : top + height, left : left + width]

    def _indices(self, height: int, width: int) -> tuple[Array, Array]:
        oh, ow = self.output_size(height, width)
        rows = np.arange(oh)[:, None] * self.stride[0]
        columns = np.arange(ow)[:, None] * self.stride[1]
        return (
            rows + np.arange(self.kernel[0]) * self.dilation[0],
            columns + np.arange(self.kernel[1]) * self.dilation[1],
        )

    def struct(self, input_size: Pair, output_size: Pair) -> Struct:
        """The C side's tk_window."""
        return Struct(
            "tk_window",
            {
                "input_height": input_size[0],
                "input_width": input_size[1],
                "output_height": output_size[0],
                "output_width": output_size[1],
                "kernel_height": self.kernel[0],
                "kernel_width": self.kernel[1],
                "stride_height": self.stride[0],
                "stride_width": self.stride[1],
                "dilation_height": self.dilation[0],
                "dilation_width": self.dilation[1],
                "pad_top": self.padding[0],
                "pad_left": self.padding[2],
            },
        )
