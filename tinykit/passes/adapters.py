"""Adapters: small branches that learn beside a layer, whose own weights stay in flash.

Low rank (after LoRA, Hu et al. 2022): y = act(W x + b + B (A x)), where A, of the layer's own kind
and window, makes `rank` channels, and B makes the layer's outputs of them.
Lite residual module (after TinyTL, Cai et al. 2020): x is averaged to a lower resolution, passes a
depthwise kernel (TinyTL has groups) and 1x1 weights, is repeated to the output's size and added.

B, or the 1x1 weights, begin as zeros, and what a branch makes (q) is added in the scale and zero
point of the layer's output: so the outputs stay the same, bit for bit, until something is learnt.
The layer's activation moves behind the sum.  In front of it W x + b has the codes of the output, so
it is still cut off at the ends of int8: where these are the ends of the activation, as converters
make them for ReLU, the branch is added to act(W x + b).

Scales come from features x of some samples:

    q    half a step of the output, zero point 0: a branch moves an output by 64 steps at most
    A    normal, of standard deviation 1 / sqrt(n) for n inputs a sum: four times that is code 127
    A x  zero point 0, ROOM times its largest value
    B    s_q / r, where r^2 is the mean of the sum of squares of what B reads: with all codes of a
         row at 1 or -1, q moves by about one step

The depthwise kernel begins as the identity (code 64 of scale 1/64 in its middle).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Array, Attributes, Graph, Op, Order, Quantization, Tensor
from tinykit.ops.add import AddAttributes
from tinykit.ops.conv2d import Conv2DAttributes
from tinykit.ops.evaluate import evaluate
from tinykit.ops.gather import GatherAttributes, nearest
from tinykit.ops.pool import PoolAttributes
from tinykit.ops.registry import check_shapes, operator
from tinykit.ops.window import Pair, same_padding
from tinykit.passes.ranges import layer_sums
from tinykit.passes.rewrite import replace_op

ROOM = 2.0  # A x may grow so much before it saturates
SPREAD = 4.0  # standard deviations of A's first weights in 127 codes
ONE = 64  # the code of 1 in a depthwise kernel


@dataclass
class Branch:
    """Ops that are about to be put beside a layer."""

    graph: Graph
    op: Op
    ops: list[Op] = field(default_factory=list)

    def append(
        self,
        part: str,
        kind: str,
        x: str,
        attributes: Attributes,
        quantization: Quantization,
        weights: Tensor | None = None,
    ) -> str:
        """One more op; the name of its output."""
        name = f"{self.op.name}/{part}"
        inputs = (x,) if weights is None else (x, weights.name, "")
        op = Op(kind, name, inputs, (name,), attributes, layer=name)
        made = Tensor(name, (), "int8", quantization)
        self.graph = self.graph.with_tensors([made] if weights is None else [made, weights])
        (shape,) = operator(kind).shapes(self.graph, op)
        self.graph = self.graph.with_tensors([replace(made, shape=shape)])
        self.ops.append(op)
        return name

    def weights(self, part: str, codes: Array, scale: float, order: Order = "pairs") -> Tensor:
        """A constant of that many real units a code."""
        quantization = Quantization.per_tensor(float(np.float32(scale)))
        name = f"{self.op.name}/{part}/kernel"
        return Tensor(
            name, codes.shape, "int8", quantization, "flash", codes.astype(np.int8), order
        )

    def joined(self, q: str) -> Graph:
        """The graph with the branch's output added to the layer's, in front of its activation."""
        op, y = self.op, self.graph[self.op.outputs[0]]
        own = replace(y, name=f"{op.name}/own")
        activation = getattr(op.attributes, "activation", "none")
        unclamped = replace(op.attributes, activation="none")  # type: ignore[call-arg]
        layer = replace(op, outputs=(own.name,), attributes=unclamped)
        name = f"{op.name}/sum"
        total = Op("add", name, (own.name, q), (y.name,), AddAttributes(activation), layer=name)
        graph = replace_op(self.graph.with_tensors([own]), op, layer, *self.ops, total)
        return check_shapes(graph)


def add_low_rank(
    graph: Graph, op: Op, rank: int, features: Sequence[Array], seed: int
) -> tuple[Graph, tuple[str, ...]]:
    """The graph with a low-rank adapter beside `op`, and the names of the layers that learn.

    features: int8 codes of the layer's input, one array a sample.  Raises PlanError.
    """
    if op.kind not in ("conv2d", "fully_connected"):
        raise PlanError(
            f"layer {op.name}: a {op.kind} cannot have a low-rank adapter",
            "rank is for convolutions and fully connected layers; a residual module can stand "
            "beside any convolution",
        )
    weights = graph[op.inputs[1]]
    outputs, fan_in = weights.shape[0], weights.size // weights.shape[0]
    if rank > min(outputs, fan_in):
        raise PlanError(
            f"layer {op.name}: rank {rank} of {outputs} × {fan_in} weights",
            f"at most {min(outputs, fan_in)}; less is what adapters are for",
        )
    branch = Branch(graph, op)
    random = np.random.default_rng([seed, zlib.crc32(op.name.encode())])
    codes = random.normal(0.0, 127 / SPREAD, (rank, *weights.shape[1:]))
    codes = np.clip(np.rint(codes), -127, 127).astype(np.int8)
    down = branch.weights("down", codes, SPREAD / np.sqrt(fan_in) / 127)
    step = graph[op.inputs[0]].quant.scale0 * down.quant.scale0
    reals = [layer_sums(graph, op, x, codes) * step for x in features]
    peak = max(float(np.abs(real).max()) for real in reals) or 127 * step
    narrow = Quantization.per_tensor(float(np.float32(ROOM * peak / 127)))
    attributes = replace(op.attributes, activation="none")  # type: ignore[call-arg]
    u = branch.append("down", op.kind, op.inputs[0], attributes, narrow, down)
    return _ended(branch, u, op.kind, reals, ("down",))


def add_residual(
    graph: Graph, op: Op, start: str, pool: int, kernel: int, features: Sequence[Array]
) -> tuple[Graph, tuple[str, ...]]:
    """The graph with a lite residual module from `start` to the output of `op`, and the names of
    the layers that learn.

    pool: the branch's resolution is the output's divided by it.  kernel: of the depthwise layer, 1
    for none.  features: int8 codes of `start`, one array a sample.  Raises PlanError.
    """
    x, y = graph[start], graph[op.outputs[0]]
    if len(x.shape) != 4 or len(y.shape) != 4 or x.shape[0] != 1:
        raise PlanError(
            f"layer {op.name}: a residual module from {list(x.shape)} to {list(y.shape)}",
            "it stands beside convolutions of maps [1, H, W, C]; rank is for others",
        )
    branch, name = Branch(graph, op), start
    down, right = (min(x.shape[i], max(1, round(pool * x.shape[i] / y.shape[i]))) for i in (1, 2))
    window = down, right
    if window != (1, 1):
        padding = _same(x, window, window)
        name = branch.append(
            "pool", "average_pool2d", name, PoolAttributes(window, window, padding), x.quant
        )
    pooled = branch.graph[name]
    learnt = []
    if kernel > 1:
        size = min(kernel, 2 * pooled.shape[1] - 1), min(kernel, 2 * pooled.shape[2] - 1)
        codes = np.zeros((1, *size, x.shape[3]), np.int8)
        codes[:, size[0] // 2, size[1] // 2] = ONE
        attributes = Conv2DAttributes(padding=_same(pooled, size, (1, 1)))
        weights = branch.weights("depthwise", codes, 1 / ONE, "plain")
        name = branch.append("depthwise", "depthwise_conv2d", name, attributes, x.quant, weights)
        learnt.append("depthwise")
    ops = tuple(branch.ops)
    trial = replace(branch.graph, ops=ops, inputs=(start,), outputs=(name,))
    reals = [
        (evaluate(trial, {start: codes})[name].astype(np.float64) - x.quant.zero_point0)
        * x.quant.scale0
        for codes in features
    ]
    return _ended(branch, name, "conv2d", reals, tuple(learnt))


def block_start(graph: Graph, op: Op, over: int) -> str:
    """The tensor in front of a chain of `over` layers with weights that ends in `op`.

    Raises PlanError where no such chain is.
    """
    at: Op | None = op
    left = over
    while at is not None:
        arena = [name for name in at.reads if graph[name].storage == "arena"]
        if len(arena) != 1:
            break
        left -= operator(at.kind).trainable
        if left == 0:
            return arena[0]
        at = graph.producer(arena[0])
    raise PlanError(
        f"layer {op.name}: only {over - left} layers with weights in a row end in it, not {over}",
        "a residual module goes around layers that follow each other: a smaller `over`",
    )


def _same(x: Tensor, kernel: Pair, stride: Pair) -> tuple[int, int, int, int]:
    top, bottom = same_padding(x.shape[1], kernel[0], stride[0], 1)
    return (top, bottom, *same_padding(x.shape[2], kernel[1], stride[1], 1))


def _ended(
    branch: Branch, x: str, kind: str, reals: Sequence[Array], learnt: tuple[str, ...]
) -> tuple[Graph, tuple[str, ...]]:
    """The branch with the weights that begin at zero, brought to the output's size, and joined.

    reals: the values of `x`, one array a sample.
    """
    y, graph = branch.graph[branch.op.outputs[0]], branch.graph
    narrow = Quantization.per_tensor(y.quant.scale0 / 2)
    channels = graph[x].shape[-1]
    squares = [np.square(real.reshape(-1, channels)).sum(axis=1).mean() for real in reals]
    size = float(np.sqrt(np.mean(squares))) or graph[x].quant.scale0
    taps = (1, 1) if kind == "conv2d" else ()
    zeros = np.zeros((y.shape[-1], *taps, channels), np.int8)
    attributes: Attributes = Conv2DAttributes()
    if kind != "conv2d":
        attributes = replace(branch.op.attributes, activation="none")  # type: ignore[call-arg]
    up = branch.weights("up", zeros, narrow.scale0 / size)
    name = branch.append("up", kind, x, attributes, narrow, up)
    for axis, part in ((1, "rows"), (2, "columns")) if kind == "conv2d" else ():
        here, there = branch.graph[name].shape[axis], y.shape[axis]
        if here != there:
            indices = nearest(here, there, False, False)
            name = branch.append(part, "gather", name, GatherAttributes(axis, indices), narrow)
    layers = tuple(f"{branch.op.name}/{part}" for part in (*learnt, "up"))
    return branch.joined(name), layers
