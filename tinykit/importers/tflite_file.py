"""The content of a .tflite file as plain values, with every length checked.

Flatbuffers in Python follow offsets lazily: a damaged file would fail anywhere, later.  So all
that is needed is read here, once; whatever goes wrong becomes one ModelError.
Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs, through the PyPI package `tflite`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tflite

from tinykit.errors import ModelError
from tinykit.ir import Array

IDENTIFIER = b"TFL3"
MAX_ELEMENTS = 2**28  # of one tensor; far above what a microcontroller can hold
MAX_RANK = 8
DAMAGED = "the file is truncated or damaged: download or convert it again"

_VECTORS = {"ReshapeOptions": "NewShape", "SqueezeOptions": "SqueezeDims"}

# What NumPy can hold; the other types are only named in errors.
NUMPY_TYPES = {
    "FLOAT32": "<f4",
    "FLOAT16": "<f2",
    "FLOAT64": "<f8",
    "INT32": "<i4",
    "UINT32": "<u4",
    "INT64": "<i8",
    "INT16": "<i2",
    "INT8": "|i1",
    "UINT8": "|u1",
    "BOOL": "|b1",
}


@dataclass(frozen=True, eq=False)
class FileTensor:
    """shape: as stored, unknown dimensions as 1; data: constant content (INT4 as int8) or None;
    dynamic: the axes whose size the file does not know; is_variable: kept between runs."""

    name: str
    shape: tuple[int, ...]
    type: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int
    data: Array | None
    dynamic: tuple[int, ...] = ()
    is_variable: bool = False


@dataclass(frozen=True)
class FileOperator:
    """inputs, outputs: tensor indices, -1 where absent; options: by the schema's names;
    variable: what a VAR_HANDLE stands for; origin: the node of another format that it was; custom:
    the options of a custom operator, as its own code reads them."""

    builtin: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int | float]
    variable: str = ""
    origin: str = ""
    custom: bytes = b""


@dataclass(frozen=True)
class FileGraph:
    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@cache
def _names(enum: str) -> dict[int, str]:
    members = vars(getattr(tflite, enum))
    return {value: name for name, value in members.items() if isinstance(value, int)}


def read_tflite(path: Path) -> tuple[FileGraph, ...]:
    """All subgraphs of a file, the main one first; ModelError when it is not a sound file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) < 16 or content[4:8] != IDENTIFIER:
        raise ModelError(f"{path}: not a TensorFlow Lite model (no {IDENTIFIER.decode()} mark)")
    try:
        return _Reader(content).graphs()
    except ModelError as error:
        raise ModelError(f"{path}: {error.message}", error.hint) from None
    except Exception as error:  # struct, index, value, unicode … errors of the flatbuffer reader
        raise ModelError(
            f"{path}: damaged model ({_printable(str(error).encode())})", DAMAGED
        ) from None


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.model = tflite.Model.GetRootAs(content, 0)

    def graphs(self) -> tuple[FileGraph, ...]:
        count = self._count(self.model.SubgraphsLength(), 4, "subgraphs")
        if count == 0:
            raise ModelError("the model holds no graph", DAMAGED)
        return tuple(self._graph(self.model.Subgraphs(i)) for i in range(count))

    def _count(self, count: int, item: int, what: str) -> int:
        """A vector's length, refused where the file is too short to hold it."""
        if not 0 <= count * item <= len(self.content):
            raise ModelError(f"claims {count} {what}", DAMAGED)
        return count

    def _integers(self, length: int, get: Callable[[int], int], what: str) -> tuple[int, ...]:
        return tuple(int(get(i)) for i in range(self._count(length, 4, what)))

    def _graph(self, graph: Any) -> FileGraph:
        tensors = tuple(
            self._tensor(graph.Tensors(i), i)
            for i in range(self._count(graph.TensorsLength(), 4, "tensors"))
        )
        operators = tuple(
            self._operator(graph.Operators(i), len(tensors))
            for i in range(self._count(graph.OperatorsLength(), 4, "operators"))
        )
        inputs = self._integers(graph.InputsLength(), graph.Inputs, "inputs")
        outputs = self._integers(graph.OutputsLength(), graph.Outputs, "outputs")
        if any(not 0 <= i < len(tensors) for i in (*inputs, *outputs)):
            raise ModelError("an input or output names a tensor that does not exist", DAMAGED)
        return FileGraph(tensors, operators, inputs, outputs)

    def _tensor(self, tensor: Any, index: int) -> FileTensor:
        name = _printable(tensor.Name() or b"") or f"tensor_{index}"
        rank = self._count(tensor.ShapeLength(), 4, f"dimensions of tensor {name}")
        if rank > MAX_RANK:
            raise ModelError(f"tensor {name} has {rank} dimensions", DAMAGED)
        shape = tuple(int(tensor.Shape(i)) for i in range(rank))
        data = self._buffer(int(tensor.Buffer()), name)
        signature = shape
        if tensor.ShapeSignatureLength() == rank:
            signature = tuple(int(tensor.ShapeSignature(i)) for i in range(rank))
        dynamic: tuple[int, ...] = ()
        if data is None:
            dynamic = tuple(i for i in range(rank) if signature[i] < 0 or shape[i] < 1)
            shape = tuple(max(1, n) for n in shape)
        kind = _names("TensorType").get(tensor.Type(), f"type {tensor.Type()}")
        size = math.prod(shape)
        if min(shape, default=1) < 0 or size > MAX_ELEMENTS:
            raise ModelError(f"tensor {name} has the impossible shape {list(shape)}", DAMAGED)
        if tensor.Sparsity() is not None and data is not None:
            raise ModelError(f"tensor {name} is stored sparsely, which is not supported")
        scale, zero_point, axis = self._quantization(tensor.Quantization(), name)
        return FileTensor(
            name, shape, kind, scale, zero_point, axis,
            None if data is None else _array(data, kind, shape, name),
            dynamic,
            bool(tensor.IsVariable()),
        )  # fmt: skip

    def _quantization(
        self, quantization: Any, name: str
    ) -> tuple[tuple[float, ...], tuple[int, ...], int]:
        if quantization is None:
            return (), (), 0
        count = self._count(quantization.ScaleLength(), 4, f"scales of tensor {name}")
        zeros = self._count(quantization.ZeroPointLength(), 8, f"zero points of tensor {name}")
        if zeros not in (0, 1, count):
            raise ModelError(f"tensor {name} has {count} scales but {zeros} zero points", DAMAGED)
        scale = tuple(float(quantization.Scale(i)) for i in range(count))
        zero_point = tuple(int(quantization.ZeroPoint(i)) for i in range(zeros)) or (0,)
        if len(zero_point) != count:
            zero_point = zero_point * count
        return scale, zero_point, int(quantization.QuantizedDimension())

    def _buffer(self, index: int, name: str) -> Array | None:
        """The bytes of a constant; None for the empty buffers of computed tensors."""
        if index == 0:
            return None
        if index >= self.model.BuffersLength():
            raise ModelError(f"tensor {name} names buffer {index}, which does not exist", DAMAGED)
        buffer = self.model.Buffers(index)
        offset, size = int(buffer.Offset()), int(buffer.Size())
        if offset > 1:  # the form for large files: the data lies behind the flatbuffer
            if offset + size > len(self.content):
                raise ModelError(f"the data of tensor {name} lies behind the file's end", DAMAGED)
            return np.frombuffer(self.content, np.uint8, size, offset)
        length = self._count(buffer.DataLength(), 1, f"bytes of tensor {name}")
        if length == 0:
            return None
        data: Array = buffer.DataAsNumpy()
        return data

    def _operator(self, operator: Any, tensors: int) -> FileOperator:
        codes = self.model.OperatorCodesLength()
        if operator.OpcodeIndex() >= codes:
            raise ModelError("an operator's code does not exist", DAMAGED)
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        number = max(int(code.BuiltinCode()), int(code.DeprecatedBuiltinCode()))
        builtin = _names("BuiltinOperator").get(number, f"operator {number}")
        if builtin == "CUSTOM":
            builtin = f"CUSTOM {_printable(code.CustomCode() or b'?')}"
        inputs = self._integers(operator.InputsLength(), operator.Inputs, "inputs")
        outputs = self._integers(operator.OutputsLength(), operator.Outputs, "outputs")
        if any(not -1 <= i < tensors for i in inputs) or any(not 0 <= i < tensors for i in outputs):
            raise ModelError(f"a {builtin} names a tensor that does not exist", DAMAGED)
        variable = _variable(operator) if builtin == "VAR_HANDLE" else ""
        options = self._options(operator)
        length = self._count(operator.CustomOptionsLength(), 1, f"bytes of options of a {builtin}")
        custom = bytes(operator.CustomOptionsAsNumpy()) if length else b""
        version = int(code.Version())
        return FileOperator(builtin, version, inputs, outputs, options, variable, custom=custom)

    def _options(self, operator: Any) -> dict[str, int | float]:
        """All scalar fields of the operator's options, and vectors' items as "Name[i]"."""
        kind = _names("BuiltinOptions").get(operator.BuiltinOptionsType(), "NONE")
        table = operator.BuiltinOptions()
        schema = getattr(tflite, kind, None)
        if table is None or schema is None:
            return {}
        options = schema()
        options.Init(table.Bytes, table.Pos)
        values: dict[str, int | float] = {}
        for name in _scalars(kind):
            value = getattr(options, name)()
            if isinstance(value, int | float):
                values[name] = value
        if kind in _VECTORS:
            field = _VECTORS[kind]
            length = self._count(getattr(options, f"{field}Length")(), 4, f"items of {field}")
            items = (int(getattr(options, field)(i)) for i in range(length))
            values.update({f"{field}[{i}]": item for i, item in enumerate(items)})
        return values


def _variable(operator: Any) -> str:
    """The container and name of a VAR_HANDLE."""
    options, table = tflite.VarHandleOptions(), operator.BuiltinOptions()
    if table is None:
        return "/"
    options.Init(table.Bytes, table.Pos)
    return "/".join(_printable(name or b"") for name in (options.Container(), options.SharedName()))


def _printable(name: bytes) -> str:
    """A name that fits into an error line."""
    text = name.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)


@cache
def _scalars(kind: str) -> tuple[str, ...]:
    """The fields of an options table that are read without an argument."""
    skipped = ("Init", "GetRootAs", f"GetRootAs{kind}", f"{kind}BufferHasIdentifier")
    members = vars(getattr(tflite, kind))
    return tuple(
        name
        for name, member in members.items()
        if not name.startswith("_")
        and name not in skipped
        and callable(member)
        and member.__code__.co_argcount == 1
        and not name.endswith(("AsNumpy", "Length", "IsNone"))
    )


def _array(data: Array, kind: str, shape: tuple[int, ...], name: str) -> Array:
    """Bytes as an array of the tensor's type and shape; INT4 as int8."""
    if kind not in (*NUMPY_TYPES, "INT4"):
        return data  # refused later, by whoever needs it
    dtype = np.dtype(NUMPY_TYPES.get(kind, "|i1"))
    size = math.prod(shape)
    if data.size != ((size + 1) // 2 if kind == "INT4" else size * dtype.itemsize):
        raise ModelError(
            f"tensor {name}: {data.size} bytes do not fill {kind}{list(shape)}", DAMAGED
        )
    if kind == "INT4":
        data = _unpack_int4(data)[:size]
    return data.view(dtype).reshape(shape)


def _unpack_int4(data: Array) -> Array:
    """Two codes a byte, the low half first, as int8; both halves with their sign."""
    codes = data.view(np.int8)
    pairs: Array = np.stack([(codes << 4) >> 4, codes >> 4], axis=-1)
    return pairs.reshape(-1)
