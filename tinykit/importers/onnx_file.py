"""The content of an .onnx file as plain values: nodes, constants, shapes for batch 1.

ONNX is Protocol Buffers; shapes of what nodes make come from ONNX's own shape inference.
Specification: https://onnx.ai/onnx/repo-docs/IR.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinykit.errors import ModelError, TinykitError
from tinykit.importers.tflite_file import DAMAGED, MAX_ELEMENTS
from tinykit.ir import Array

INSTALL = "pip install 'tinykit-mcu[onnx]'"
OPSETS = range(13, 22)
BATCH_ONE = "export the model with every dimension of its inputs fixed; only the batch may be open"
_INTEGERS = (
    "Shape", "Gather", "Unsqueeze", "Squeeze", "Concat", "Cast", "Slice", "Add", "Sub", "Mul",
    "Div", "Identity", "Constant",
)  # fmt: skip  # what exporters compute target shapes with
_SMALL = 64  # such values are no longer than this

Attribute = int | float | str | list[int] | list[float] | Array


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """inputs: names, "" where absent; opset: of the operator's domain."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    opset: int

    @property
    def place(self) -> str:
        """ "Conv /conv1/Conv (opset 17)" """
        return f"{self.operator} {_printable(self.name or self.outputs[0])} (opset {self.opset})"

    def error(self, message: str, hint: str = "") -> ModelError:
        return ModelError(f"{self.place}: {message}", hint)

    def expect(self, condition: bool, message: str, hint: str = "") -> None:
        if not condition:
            raise self.error(message, hint)

    def has(self, i: int) -> bool:
        return i < len(self.inputs) and bool(self.inputs[i])

    def integer(self, name: str, default: int = 0) -> int:
        value = self.attributes.get(name, default)
        self.expect(isinstance(value, int), f"attribute {name} is not an integer")
        assert isinstance(value, int)
        return value

    def integers(self, name: str, default: list[int]) -> list[int]:
        """Of the default's length; of any length where that is empty."""
        value = self.attributes.get(name, default)
        numbers = [v for v in value if isinstance(v, int)] if isinstance(value, list) else []
        self.expect(
            len(numbers) == len(default) or not default,
            f"attribute {name} does not have {len(default)} integers",
        )
        return numbers or default

    def real(self, name: str, default: float) -> float:
        value = self.attributes.get(name, default)
        self.expect(isinstance(value, int | float), f"attribute {name} is not a number")
        assert isinstance(value, int | float)
        return float(value)

    def text(self, name: str, default: str) -> str:
        return str(self.attributes.get(name, default))


@dataclass
class OnnxModel:
    """inputs, outputs: names; shapes: of all values that are known; constants: their values."""

    nodes: list[OnnxNode]
    inputs: list[str]
    outputs: list[str]
    shapes: dict[str, tuple[int, ...]]
    constants: dict[str, Array]
    readers: dict[str, list[OnnxNode]] = field(default_factory=dict)


def import_onnx() -> ModuleType:
    """The module `onnx`; TinykitError with the command to install it where it is missing."""
    try:
        import onnx
        import onnx.reference
        import onnx.shape_inference
    except ImportError as error:
        raise TinykitError(f"an .onnx model needs the package onnx: {error}", INSTALL) from None
    return onnx


def read_onnx(path: Path) -> OnnxModel:
    """The model of a file, its batch 1; ModelError (without the path) when it is not sound."""
    onnx = import_onnx()
    try:
        model = onnx.load(str(path))
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}") from None
    except Exception as error:  # protobuf's
        raise ModelError(f"not an ONNX model ({_first_line(error)})", DAMAGED) from None
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset not in OPSETS:
        raise ModelError(
            f"the model has opset {opset}; supported are {OPSETS[0]} to {OPSETS[-1]}",
            f"export it with opset {OPSETS[-1]} or convert it with onnx.version_converter",
        )
    try:
        onnx.checker.check_model(model)
        return _Reader(onnx, model).model()
    except ModelError:
        raise
    except Exception as error:  # type, value, decode … errors of the onnx package
        raise ModelError(f"damaged model ({_first_line(error)})", DAMAGED) from None


class _Reader:
    def __init__(self, onnx: Any, model: Any) -> None:
        self.onnx = onnx
        self.proto = model
        self.opsets = {o.domain or "ai.onnx": o.version for o in model.opset_import}

    def model(self) -> OnnxModel:
        graph = self.proto.graph
        if not all(isinstance(name, str) for name in _names(graph)):
            raise ModelError("holds a name that is not text", DAMAGED)
        constants = {t.name: self._array(t) for t in graph.initializer}
        if graph.sparse_initializer:
            raise ModelError("sparse initializers are not supported")
        inputs = [value for value in graph.input if value.name not in constants]
        for value in inputs:
            _fix_batch(value)
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
        inferred = self.onnx.shape_inference.infer_shapes(self.proto, data_prop=True).graph
        shapes = {name: value.shape for name, value in constants.items()}
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            shape = _known_shape(value)
            if shape is not None:
                shapes[value.name] = shape
        result = OnnxModel(
            [], [value.name for value in inputs], [value.name for value in graph.output],
            shapes, constants,
        )  # fmt: skip
        for proto in graph.node:
            node = self._node(proto)
            if not self._folded(proto, node, result):
                result.nodes.append(node)
                for name in dict.fromkeys(node.inputs):
                    result.readers.setdefault(name, []).append(node)
        return result

    def _array(self, tensor: Any) -> Array:
        if np.prod([int(n) for n in tensor.dims], dtype=float) > MAX_ELEMENTS:
            raise ModelError(f"tensor {_printable(tensor.name)} is impossibly large", DAMAGED)
        return np.asarray(self.onnx.numpy_helper.to_array(tensor))

    def _node(self, proto: Any) -> OnnxNode:
        domain = proto.domain or "ai.onnx"
        operator = proto.op_type if domain == "ai.onnx" else f"{domain}.{proto.op_type}"
        if domain == "com.microsoft" and proto.op_type in ("QuantizeLinear", "DequantizeLinear"):
            operator = proto.op_type  # onnxruntime's, for types that the opset does not have
        attributes = {a.name: self._attribute(a) for a in proto.attribute}
        return OnnxNode(
            _printable(operator), proto.name, tuple(proto.input), tuple(proto.output),
            attributes, self.opsets.get(domain, 0),
        )  # fmt: skip

    def _attribute(self, proto: Any) -> Attribute:
        value = self.onnx.helper.get_attribute_value(proto)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, int | float):
            return value
        if isinstance(value, self.onnx.TensorProto):
            return self._array(value)
        return list(value) if isinstance(value, list | tuple) else str(type(value).__name__)

    def _folded(self, proto: Any, node: OnnxNode, model: OnnxModel) -> bool:
        """Whether the node makes a constant of constants; if so it is known from now on."""
        if node.operator == "Constant" and isinstance(node.attributes.get("value"), np.ndarray):
            value = node.attributes["value"]
            assert isinstance(value, np.ndarray)
            model.constants[node.outputs[0]] = value
            model.shapes[node.outputs[0]] = value.shape
            return True
        if node.operator not in _INTEGERS or not node.outputs:
            return False
        feeds: dict[str, Array] = {}
        for name in node.inputs:
            if name in model.constants and model.constants[name].size <= _SMALL:
                feeds[name] = model.constants[name]
            elif node.operator == "Shape" and name in model.shapes:
                feeds[name] = np.empty(model.shapes[name], np.int8)
            elif name:
                return False
        floats = any(v.dtype.kind == "f" for v in feeds.values())
        if floats and node.operator != "Identity":
            return False
        try:
            with np.errstate(all="ignore"):
                (value,) = self.onnx.reference.ReferenceEvaluator(proto).run(None, feeds)
        except Exception:  # what cannot be computed now is refused by whoever needs it
            return False
        model.constants[node.outputs[0]] = np.asarray(value)
        model.shapes[node.outputs[0]] = np.shape(value)
        return True


def _names(graph: Any) -> Iterator[str | bytes]:
    """All names; protobuf gives bytes for what is not UTF-8."""
    for value in (*graph.initializer, *graph.input, *graph.output):
        yield value.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _fix_batch(value: Any) -> None:
    """An open first dimension of an input becomes 1."""
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            continue
        if axis:
            raise ModelError(
                f"dimension {axis} of the input {_printable(value.name)} is not known", BATCH_ONE
            )
        dim.dim_value = 1


def _known_shape(value: Any) -> tuple[int, ...] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape") or not all(d.HasField("dim_value") for d in kind.shape.dim):
        return None
    return tuple(int(d.dim_value) for d in kind.shape.dim)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:80]


def _first_line(error: Exception) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip()
    return _printable(text)[:200] or type(error).__name__
