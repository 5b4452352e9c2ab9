"""BATCH_MATMUL: products of matrices, as TensorFlow Lite Micro computes them.

Inputs: a [..., M, K] (adj_x: [..., K, M]), b [..., K, N] (adj_y: [..., N, K]); their batches are
equal, or one of them has a single one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinykit.errors import ModelError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.base import Call, Cost, Operator, Struct
from tinykit.ops.contraction import Contraction, Matrix
from tinykit.ops.convolution_gradient import activation_gradient
from tinykit.ops.evaluate import Run
from tinykit.ops.fixed_point import code_range, exact, requantize
from tinykit.ops.fully_connected import output_multipliers
from tinykit.ops.int16 import LARGEST_SHIFT, multiply_wide

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.tape import Tape

LARGEST_DEPTH = (2**31 - 1) // 255**2  # whose sums always fit 32 bits
LARGEST_WIDE_DEPTH = 2**17 - 1  # of int16, whose sums stay below 2^47


@dataclass(frozen=True)
class BatchMatmulAttributes(Attributes):
    adj_x: bool = False
    adj_y: bool = False


@dataclass(frozen=True)
class Product:
    """A product's sizes, and where its factors lie."""

    batches: int
    rows: int
    columns: int
    depth: int
    a: Matrix  # [rows, depth]
    b: Matrix  # [depth, columns]
    shape: tuple[int, ...]  # of the result


def product_of(
    a: tuple[int, ...], b: tuple[int, ...], attributes: BatchMatmulAttributes
) -> Product:
    """ValueError where the shapes do not fit."""
    adj_x, adj_y = attributes.adj_x, attributes.adj_y
    rows, depth = (a[-1], a[-2]) if adj_x else a[-2:]
    inner, columns = (b[-1], b[-2]) if adj_y else b[-2:]
    rank = max(len(a), len(b)) - 2
    outer = [(1,) * (rank + 2 - len(shape)) + shape[:-2] for shape in (a, b)]
    if inner != depth or (outer[0] != outer[1] and min(map(math.prod, outer)) != 1):
        raise ValueError(f"{list(a)} and {list(b)} cannot be multiplied")
    batch = max(outer, key=math.prod)
    batches = math.prod(batch)
    return Product(
        batches, rows, columns, depth,
        Matrix.of(a, adj_x, batches), Matrix.of(b, adj_y, batches), (*batch, rows, columns),
    )  # fmt: skip


class BatchMatmul(Operator[BatchMatmulAttributes]):
    kind = "batch_matmul"
    tflite = ("BATCH_MATMUL",)
    int16 = tflite
    note = "each factor transposed or not, computed or constant; equal batches, or one"

    def product(self, graph: Graph, op: Op) -> Product:
        a, b = (graph[name].shape for name in op.inputs)
        try:
            return product_of(a, b, self.attributes(op))
        except ValueError as error:
            raise ModelError(f"layer {op.name}: {error}") from None

    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        return (self.product(graph, op).shape,)

    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        graph, y, attributes = run.graph, run.graph[op.outputs[0]], self.attributes(op)
        a, b = (exact(run[n].astype(np.int32) - graph[n].quant.zero_point0) for n in op.inputs)
        a = np.swapaxes(a, -1, -2) if attributes.adj_x else a
        b = np.swapaxes(b, -1, -2) if attributes.adj_y else b
        acc = np.matmul(a, b).astype(np.int64)
        multiplier, shift = output_multipliers(graph, op)
        if y.dtype == "int16":
            out = np.clip(multiply_wide(acc, multiplier, shift), *code_range("int16"))
            return (out.astype(np.int16).reshape(y.shape),)
        out = requantize(acc, multiplier, shift, y.quant.zero_point0, -128, 127)
        return (out.reshape(y.shape),)

    def cost(self, graph: Graph, op: Op) -> Cost:
        size = graph[op.outputs[0]].size
        return Cost(macs=size * self.product(graph, op).depth, elements=size)

    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        a, b, y = (graph[name] for name in (*op.inputs, *op.outputs))
        p = self.product(graph, op)
        sums = Contraction(
            (p.batches, p.rows, p.columns, 1, p.depth),
            (p.a.batch, p.a.row, 0, 0, p.a.column),
            (p.b.batch, 0, p.b.column, 0, p.b.row),
        )
        multiplier, shift = output_multipliers(graph, op)
        struct = Struct(
            "tk_batch_matmul",
            {
                **sums.fields,
                "multiplier": int(multiplier[0]),
                "zero_point_a": a.quant.zero_point0,
                "zero_point_b": b.quant.zero_point0,
                "output_zero_point": y.quant.zero_point0,
                "shift": int(shift[0]),
            },
        )
        function = "tk_batch_matmul_s16" if y.dtype == "int16" else "tk_batch_matmul_s8"
        return (Call(function, struct, (a.name, b.name, y.name)),)

    def gradient(self, op: Op, tape: Tape) -> None:
        a, b = op.inputs
        if not (tape.wants(a) or tape.wants(b)):
            return
        gradient = activation_gradient(op, tape, "none")
        p = self.product(tape.graph, op)
        g = Matrix(p.rows * p.columns, p.columns, 1)
        # Row, column and sum of each factor's own matrix, in its place in memory.
        into_a = _backward(p, p.rows, p.depth, p.columns, (g.row, 0, g.column),
                           (0, p.b.row, p.b.column), p.b.batch, p.a, g.batch)  # fmt: skip
        into_b = _backward(p, p.depth, p.columns, p.rows, (0, g.column, g.row),
                           (p.a.column, 0, p.a.row), p.a.batch, p.b, g.batch)  # fmt: skip
        for name, other, sums in ((a, b, into_a), (b, a, into_b)):
            if tape.wants(name):
                shape = tape.graph[name].shape
                kind = "batch_matmul_grad"
                attributes = BatchMatmulGradAttributes(sums, shape)
                tape.contribute(name, tape.emit(kind, op, (gradient, other), shape, attributes))

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        node.expect_counts(range(2, 3))
        a, b = node.input(0), node.input(1)
        node.expect(
            min(len(a.shape), len(b.shape)) >= 2, f"multiplies {list(a.shape)}, {list(b.shape)}"
        )
        attributes = BatchMatmulAttributes(bool(node.option("AdjX")), bool(node.option("AdjY")))
        product = product_of(a.shape, b.shape, attributes)
        node.shape_output(product.shape)
        node.output()
        op = node.op(self.kind, (a.name, b.name), attributes)
        most, bits = (LARGEST_DEPTH, 32) if not node.int16 else (LARGEST_WIDE_DEPTH, 48)
        node.expect(product.depth <= most, f"sums over {product.depth} products exceed {bits} bits")
        _, shift = output_multipliers(Graph("", node.tensors, (), (), ()), op)
        node.expect(
            not node.int16 or int(shift.max()) <= LARGEST_SHIFT,
            "the output's scale is too small for the inputs' scales",
        )
        return (op,)


@dataclass(frozen=True)
class BatchMatmulGradAttributes(Attributes):
    """sums: of gradient and other factor, in the order of the result's memory; shape: of it."""

    sums: Contraction
    shape: tuple[int, ...]


def _backward(
    p: Product,
    rows: int,
    columns: int,
    depth: int,
    gradient: tuple[int, int, int],
    other: tuple[int, int, int],
    other_batch: int,
    result: Matrix,
    gradient_batch: int,
) -> Contraction:
    """The sums into one factor [rows, columns]; gradient, other: strides of row, column, sum.

    A factor that serves all batches gets the sum over them.
    """
    if result.row == 1 and (columns > 1 or result.column != 1):  # stored [columns, rows]
        rows, columns = columns, rows
        gradient, other = ((s[1], s[0], s[2]) for s in (gradient, other))
    shared = p.batches > 1 and result.batch == 0
    batches, repeats = (1, p.batches) if shared else (p.batches, 1)
    return Contraction(
        (batches, rows, columns, repeats, depth),
        (gradient_batch, gradient[0], gradient[1], gradient_batch, gradient[2]),
        (other_batch, other[0], other[1], other_batch, other[2]),
    )


OPERATOR = BatchMatmul()
