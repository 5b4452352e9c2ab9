"""What the weight updates of CONV_2D and DEPTHWISE_CONV_2D share: gradient and update in one go.

Inputs: gradient int16 of the layer's output, x int8, weights (trained block), residual or nothing.
G = s_x * sum over pixels of g * (x - zero point).
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call, Cost, Field, Operator, Struct
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import exact
from tinykit.ops.gradient_arithmetic import shift_round
from tinykit.ops.update import (
    Units,
    UpdateAttributes,
    apply_update,
    fold_shift,
    is_plain,
    units,
    update_struct,
)
from tinykit.ops.window import Pair, Window

WIDTH_MAX = 256  # products of int16 and 9 bits in a row that an int32 surely sums


@dataclass(frozen=True, kw_only=True)
class WeightUpdateAttributes(UpdateAttributes):
    """window of the forward op; sizes (H, W) and (OH, OW)."""

    window: Window
    input_size: Pair
    output_size: Pair


class WeightUpdate(Operator[WeightUpdateAttributes]):
    """`struct` is the C descriptor, `axis` the weights' axis of output channels."""

    struct: ClassVar[str]
    function: ClassVar[str]
    axis: ClassVar[int]
    work: ClassVar[tuple[str, ...]] = ()  # what `function` takes before the trainer

    @abc.abstractmethod
    def sums(self, op: Op, run: Run, x: Array) -> Array:
        """Sums over pixels of g * (x - zero point), of the weights' shape, as float64.

        x: float64 [H, W, C], the zero point subtracted.
        """

    @abc.abstractmethod
    def channel_fields(self, graph: Graph, op: Op) -> dict[str, Field]:
        """The members of the descriptor that count channels."""

    def scratch(self, graph: Graph, op: Op) -> int:
        """Bytes of scratch that `function` needs."""
        return 0

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return ()

    def _fold(self, op: Op) -> int:
        oh, ow = self.attributes(op).output_size
        return fold_shift(oh * ow)

    def _units(self, graph: Graph, op: Op) -> Units:
        """M = s_x * s_w / s_y, so a real change d is d * s_x / (s_y * M) integer steps."""
        scales = self.attributes(op).scales
        gradient = graph[op.inputs[0]].quant.scale0 * 2.0 ** self._fold(op)
        return Units(scales.input * gradient, scales.input * units(op) / scales.output)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        attributes, graph = self.attributes(op), run.graph
        x_quant = graph[op.inputs[1]].quant
        x = run[op.inputs[1]].astype(np.int32) - x_quant.zero_point0
        sums = self.sums(op, run, exact(x).reshape(*attributes.input_size, -1))
        unit = 1.0 if run.real else graph[op.inputs[0]].quant.scale0
        run.gradients[op.inputs[2]] = sums * unit * x_quant.scale0 * run.step.normalisation
        if run.real:
            return tuple(run[name] for name in op.updates)
        folded = shift_round(np.rint(sums).astype(np.int64), self._fold(op))
        return apply_update(op, run, folded, self._units(graph, op), attributes, self.axis)

    def cost(self, graph: Graph, op: Op) -> Cost:
        oh, ow = self.attributes(op).output_size
        size = graph[op.inputs[2]].size
        return Cost(oh * ow * size, size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        attributes = self.attributes(op)
        if attributes.output_size[1] > WIDTH_MAX:
            raise PlanError(
                f"layer {op.layer}: weights of maps wider than {WIDTH_MAX} cannot train"
            )
        fields: dict[str, Field] = {
            "window": attributes.window.struct(attributes.input_size, attributes.output_size),
            "update": update_struct(op, self._units(graph, op), attributes),
            **self.channel_fields(graph, op),
            "split": graph[op.inputs[2]].shape[-1],
            "input_zero_point": graph[op.inputs[1]].quant.zero_point0,
            "fold_shift": self._fold(op),
        }
        arguments = (op.inputs[0], op.inputs[1], *self.work, "$trainer")
        plain = is_plain(op, attributes.rule)
        function = self.function if plain else self.function.replace("_s16", "_state_s16")
        scratch = self.scratch(graph, op)
        return (Call(function, Struct(self.struct, fields), arguments, scratch),)
