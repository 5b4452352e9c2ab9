"""Constant folding of the few integer operators that converters put before a RESHAPE.

A model converted with an unknown batch size computes its target shapes at run time
(SHAPE, STRIDED_SLICE, PACK …); with the batch known to be 1 they are constants.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinykit.importers.tflite_file import NUMPY_TYPES, FileOperator, FileTensor
from tinykit.ir import Array

Values = list[FileTensor]


def _shape(operator: FileOperator, inputs: Values, kind: str) -> Array:
    return np.array(inputs[0].shape)


def _strided_slice(operator: FileOperator, inputs: Values, kind: str) -> Array:
    x, begin, end, stride = (_data(tensor) for tensor in inputs)
    masks = {name: int(operator.options.get(name, 0)) for name in
             ("BeginMask", "EndMask", "ShrinkAxisMask", "EllipsisMask", "NewAxisMask")}  # fmt: skip
    if x.ndim != 1 or begin.size != 1 or masks["EllipsisMask"] or masks["NewAxisMask"]:
        raise ValueError("only slices of vectors are folded")
    first = int(begin.flat[0])
    if masks["ShrinkAxisMask"] & 1:
        return np.asarray(x[first])
    start = None if masks["BeginMask"] & 1 else first
    stop = None if masks["EndMask"] & 1 else int(end.flat[0])
    return x[start : stop : int(stride.flat[0])]


def _pack(operator: FileOperator, inputs: Values, kind: str) -> Array:
    return np.stack([_data(tensor) for tensor in inputs], int(operator.options.get("Axis", 0)))


def _concatenation(operator: FileOperator, inputs: Values, kind: str) -> Array:
    axis = int(operator.options.get("Axis", 0))
    return np.concatenate([_data(tensor) for tensor in inputs], axis)


def _cast(operator: FileOperator, inputs: Values, kind: str) -> Array:
    return _data(inputs[0])


def _multiply(operator: FileOperator, inputs: Values, kind: str) -> Array:
    product: Array = _data(inputs[0]) * _data(inputs[1])
    return product


def _product(operator: FileOperator, inputs: Values, kind: str) -> Array:
    axes = tuple(int(a) for a in np.atleast_1d(_data(inputs[1])))
    keep = bool(operator.options.get("KeepDims", 0))
    return np.asarray(np.prod(_data(inputs[0]), axis=axes, keepdims=keep))


def _gather(operator: FileOperator, inputs: Values, kind: str) -> Array:
    axis = int(operator.options.get("Axis", 0))
    if operator.options.get("BatchDims", 0):
        raise ValueError("batched gathers are not folded")
    return np.take(_data(inputs[0]), _data(inputs[1]), axis)


FOLDED: dict[str, Callable[[FileOperator, Values, str], Array]] = {
    "SHAPE": _shape,
    "STRIDED_SLICE": _strided_slice,
    "PACK": _pack,
    "CONCATENATION": _concatenation,
    "CAST": _cast,
    "GATHER": _gather,
    "MUL": _multiply,
    "REDUCE_PROD": _product,
}


def fold(operator: FileOperator, inputs: Values, output: FileTensor) -> Array | None:
    """The constant that an operator makes, or None where it is not one of these on integers."""
    rule = FOLDED.get(operator.builtin)
    integers = ("INT32", "INT64")
    if rule is None or output.type not in integers or not inputs:
        return None
    known = inputs[1:] if operator.builtin == "SHAPE" else inputs
    if any(tensor.data is None or tensor.type not in integers for tensor in known):
        return None
    try:
        value = rule(operator, inputs, output.type)
    except (ValueError, IndexError, TypeError):
        return None
    return np.ascontiguousarray(value, np.dtype(NUMPY_TYPES[output.type])).reshape(np.shape(value))


def _data(tensor: FileTensor) -> Array:
    assert tensor.data is not None
    return tensor.data
