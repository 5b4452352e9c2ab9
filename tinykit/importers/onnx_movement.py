"""ONNX operators that move or reduce values, whose axes follow the order in which they lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tinykit.importers.onnx import Importer
from tinykit.importers.onnx_file import OnnxNode
from tinykit.importers.onnx_values import Order, Value
from tinykit.ir import Array


def _axis(node: OnnxNode, value: Value, axis: int) -> int:
    node.expect(-value.rank <= axis < value.rank, f"no axis {axis} in {list(value.shape)}")
    return axis % value.rank


def _without(order: Order, axes: set[int]) -> Order:
    """The order of the axes that are left when some are taken away."""
    kept = [axis for axis in order if axis not in axes]
    return tuple(sorted(kept).index(axis) for axis in kept)


def reduce(builtin: str) -> Callable[[Importer, OnnxNode], None]:
    def convert(imp: Importer, node: OnnxNode) -> None:
        x = imp.input(node)
        given = imp.integers(node, 1, "axes") or []
        node.expect(bool(given) or not node.integer("noop_with_empty_axes"), "reduces nothing")
        axes = {_axis(node, x, axis) for axis in given} or set(range(x.rank))
        keep = node.integer("keepdims", 1)
        places = np.array([x.order.index(axis) for axis in sorted(axes)], np.int32)
        codes = x.codes if builtin == "REDUCE_MAX" else imp.output_codes(node)
        inputs = [imp.stored(x, x.order), imp.constant("axes", places)]
        order = x.order if keep else _without(x.order, axes)
        imp.made(node, builtin, inputs, order, codes, {"KeepDims": keep})

    return convert


def widened(imp: Importer, node: OnnxNode, value: Value, rank: int) -> Value:
    """The same values with axes of size 1 in front, as broadcasting sees them."""
    shape = (1,) * (rank - value.rank) + value.shape
    if len(shape) == value.rank or value.data is not None:
        data = None if value.data is None else value.data.reshape(shape)
        return value if len(shape) == value.rank else replace(value, shape=shape, data=data,
                                                              stored={})  # fmt: skip
    plain = imp.stored(value, tuple(range(value.rank)))
    return _reshaped(imp, node, Value(value.name, shape, value.codes), plain)


def _reshaped(imp: Importer, node: OnnxNode, made: Value, x: int) -> Value:
    """RESHAPE of a stored tensor to the plain shape of a value."""
    y = imp.reshape_to(x, made.shape, made.codes, made.name, node.place)
    made.stored[tuple(range(made.rank))] = y
    return made


def reshape(imp: Importer, node: OnnxNode) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze: all have the shape that ONNX infers."""
    x = imp.input(node)
    shape = imp.shape(node, node.outputs[0])
    node.expect(math.prod(shape) == math.prod(x.shape), f"makes {list(shape)} of {list(x.shape)}")
    node.expect(x.channel_scales is None, "reshapes per-channel weights")
    if x.data is not None:
        imp.known(node, Value(node.outputs[0], shape, x.codes, {}, x.data.reshape(shape)))
        return
    made = Value(node.outputs[0], shape, x.codes)
    if shape == (1, math.prod(shape)) and x.order != tuple(range(x.rank)):
        made.flat = x  # a dense layer behind it takes the values in the order in which they lie
        imp.known(node, made)
        return
    imp.known(node, _reshaped(imp, node, made, imp.stored(x, tuple(range(x.rank)))))


def columns(imp: Importer, x: Value, weights: Array) -> tuple[int, Array]:
    """(tensor of a dense layer's input, weights [O, I] with their columns in its order)."""
    if x.flat is None or x.stored:
        return imp.stored(x, tuple(range(x.rank))), weights
    source, order = x.flat, x.flat.order
    index = imp.flatten(x, imp.stored(source, order), "as_stored")
    moved = weights.reshape(-1, *source.shape).transpose(0, *(axis + 1 for axis in order))
    return index, moved.reshape(weights.shape)


def transpose(imp: Importer, node: OnnxNode) -> None:
    """Moves nothing yet: what is stored counts as stored in another order of axes."""
    x = imp.input(node)
    permutation = node.integers("perm", list(range(x.rank))[::-1])
    node.expect(sorted(permutation) == list(range(x.rank)), f"order of axes {permutation}")
    shape = tuple(x.shape[axis] for axis in permutation)
    if x.data is not None:
        node.expect(x.channel_scales is None, "transposes per-channel weights")
        data = x.data.transpose(permutation)
        imp.known(node, Value(node.outputs[0], shape, x.codes, {}, data))
        return
    if not x.stored:
        imp.stored(x, tuple(range(x.rank)))
    stored = {tuple(permutation.index(axis) for axis in order): i for order, i in x.stored.items()}
    imp.known(node, Value(node.outputs[0], shape, x.codes, stored))


def concat(imp: Importer, node: OnnxNode) -> None:
    values = [imp.input(node, i) for i in range(len(node.inputs))]
    computed = next((v for v in values if v.data is None), values[0])
    codes = imp.target(node) or computed.codes
    order = computed.order
    axis = order.index(_axis(node, computed, node.integer("axis")))
    inputs = [imp.stored(imp.recoded(node, v, codes), order) for v in values]
    imp.made(node, "CONCATENATION", inputs, order, codes, {"Axis": axis})


def pad(imp: Importer, node: OnnxNode) -> None:
    x = imp.input(node)
    mode = node.text("mode", "constant")
    node.expect(mode in ("constant", "reflect"), f"mode {mode}; supported are constant, reflect")
    given, axes = imp.integers(node, 1) or [], imp.integers(node, 3) or list(range(x.rank))
    node.expect(
        len(given) == 2 * len(axes) and min(given, default=0) >= 0, f"pads {given}; axes {axes}"
    )
    amounts = np.zeros((x.rank, 2), np.int32)
    for i, axis in enumerate(axes):
        amounts[x.order.index(_axis(node, x, axis))] = given[i], given[i + len(axes)]
    inputs = [imp.stored(x, x.order), imp.constant("pads", amounts)]
    code = x.codes.of(imp.number(node, 2, 0.0)) if mode == "constant" else x.codes.zero_point
    if code != x.codes.zero_point:
        inputs.append(imp.constant("fill", np.array([code], np.int8), x.codes))
    builtin = "MIRROR_PAD" if mode == "reflect" else "PADV2" if len(inputs) > 2 else "PAD"
    options: dict[str, int | float] = {"Mode": 0} if mode == "reflect" else {}
    imp.made(node, builtin, inputs, x.order, x.codes, options)


def slice_(imp: Importer, node: OnnxNode) -> None:
    x = imp.input(node)
    starts, ends = imp.integers(node, 1) or [], imp.integers(node, 2) or []
    axes = imp.integers(node, 3) or list(range(len(starts)))
    steps = imp.integers(node, 4) or [1] * len(starts)
    node.expect(min(steps, default=1) > 0, f"steps {steps}; supported are positive ones")
    bounds = [(0, n, 1) for n in x.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = _axis(node, x, axis)
        bounds[place] = slice(start, end, step).indices(x.shape[place])
    table = np.array([bounds[axis] for axis in x.order], np.int32)
    inputs = [imp.stored(x, x.order)]
    inputs += [imp.constant(name, table[:, i]) for i, name in enumerate(("begin", "end", "step"))]
    imp.made(node, "STRIDED_SLICE", inputs, x.order, x.codes)


def split(imp: Importer, node: OnnxNode) -> None:
    x = imp.input(node)
    axis = _axis(node, x, node.integer("axis"))
    shapes = [imp.shape(node, name) for name in node.outputs]
    sizes = np.array([shape[axis] for shape in shapes], np.int32)
    place = np.array([x.order.index(axis)], np.int32)
    inputs = [imp.stored(x, x.order), imp.constant("sizes", sizes), imp.constant("axis", place)]
    made = []
    for i, shape in enumerate(shapes):
        stored = tuple(shape[a] for a in x.order)
        made.append(imp.tensor(f"{x.name}_part{i}", stored, x.codes))
        imp.known(node, Value(node.outputs[i], shape, x.codes, {x.order: made[-1]}), i)
    imp.operator("SPLIT_V", inputs, made, {"NumSplits": len(made)}, node.place)


def gather(imp: Importer, node: OnnxNode) -> None:
    x = imp.input(node)
    axis = _axis(node, x, node.integer("axis"))
    indices = imp.model.constants.get(node.inputs[1])
    node.expect(
        indices is not None and indices.dtype.kind == "i" and indices.ndim < 2,
        "indices must be constant, a number or a list",
    )
    assert indices is not None
    positive = np.where(indices < 0, indices + x.shape[axis], indices).astype(np.int32)
    inputs = [imp.stored(x, x.order), imp.constant("indices", positive)]
    order = x.order if indices.ndim else _without(x.order, {axis})
    imp.made(node, "GATHER", inputs, order, x.codes, {"Axis": x.order.index(axis)})
