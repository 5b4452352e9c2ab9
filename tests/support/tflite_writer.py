"""Writes .tflite files operator by operator, odd and broken ones included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

from tinykit.ir import Array

OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "RESHAPE": "ReshapeOptions",
    "SQUEEZE": "SqueezeOptions",
    "EXPAND_DIMS": "ExpandDimsOptions",
    "SOFTMAX": "SoftmaxOptions",
    "TRANSPOSE": "TransposeOptions",
    "QUANTIZE": "QuantizeOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "CALL_ONCE": "CallOnceOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SHAPE": "ShapeOptions",
    "PACK": "PackOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "GELU": "GeluOptions",
    "MUL": "MulOptions",
    "SUB": "SubOptions",
    "DIV": "DivOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "UNPACK": "UnpackOptions",
    "SPLIT": "SplitOptions",
    "SPLIT_V": "SplitVOptions",
    "SLICE": "SliceOptions",
    "CONCATENATION": "ConcatenationOptions",
    "GATHER": "GatherOptions",
    "MIRROR_PAD": "MirrorPadOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "SVDF": "SVDFOptions",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "LOG_SOFTMAX": "LogSoftmaxOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "ARG_MAX": "ArgMaxOptions",
    "ARG_MIN": "ArgMinOptions",
    "VAR_HANDLE": "VarHandleOptions",
    "READ_VARIABLE": "ReadVariableOptions",
    "ASSIGN_VARIABLE": "AssignVariableOptions",
}
TYPES = {
    "f4": "FLOAT32", "i4": "INT32", "i8": "INT64", "i2": "INT16", "i1": "INT8", "u1": "UINT8",
    "u4": "UINT32",
}  # fmt: skip
CUSTOM = "CUSTOM:"  # and the operator's name; its options are {"bytes": …}


Options = Mapping[str, float | int | str | bytes]


@dataclass
class Tensor:
    name: str
    shape: tuple[int, ...]
    type: str = "INT8"
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    axis: int = 0
    data: bytes | None = None
    signature: tuple[int, ...] | None = None
    variable: bool = False


@dataclass
class Operator:
    builtin: str
    inputs: list[int]
    outputs: list[int]
    options: Options | None
    version: int


@dataclass
class Graph:
    """One subgraph; tensors are known by their indices."""

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def tensor(
        self,
        shape: tuple[int, ...],
        scale: float | None = 1.0,
        zero_point: int = 0,
        type: str = "INT8",
        name: str = "",
        signature: tuple[int, ...] | None = None,
        variable: bool = False,
    ) -> int:
        """A computed tensor, quantized per tensor (or not at all: scale None)."""
        quantized = ((scale,), (zero_point,)) if scale is not None else ((), ())
        name = name or f"t{len(self.tensors)}"
        self.tensors.append(
            Tensor(name, shape, type, *quantized, signature=signature, variable=variable)
        )
        return len(self.tensors) - 1

    def constant(
        self,
        data: Array,
        scale: tuple[float, ...] = (),
        zero_point: tuple[int, ...] | None = None,
        axis: int = 0,
        name: str = "",
    ) -> int:
        kind = TYPES[data.dtype.str[1:]]
        zeros = zero_point if zero_point is not None else (0,) * len(scale)
        name = name or f"c{len(self.tensors)}"
        self.tensors.append(Tensor(name, data.shape, kind, scale, zeros, axis, data.tobytes()))
        return len(self.tensors) - 1

    def int4_constant(self, data: Array, scale: tuple[float, ...], axis: int = 0) -> int:
        """Codes -8 … 7, two a byte, the low half first; an odd number leaves a half empty."""
        codes = np.append(data.reshape(-1), [0] * (data.size % 2)).astype(np.int64) & 15
        packed = (codes[0::2] | codes[1::2] << 4).astype(np.uint8).tobytes()
        zeros = (0,) * len(scale)
        self.tensors.append(
            Tensor(f"c{len(self.tensors)}", data.shape, "INT4", scale, zeros, axis, packed)
        )
        return len(self.tensors) - 1

    def operator(
        self,
        builtin: str,
        inputs: list[int],
        output: int | list[int],
        options: Options | None = None,
        version: int = 1,
    ) -> int:
        outputs = [output] if isinstance(output, int) else output
        self.operators.append(Operator(builtin, inputs, outputs, options or {}, version))
        return outputs[0] if outputs else -1


def write(*graphs: Graph, offset_buffers: bool = False) -> bytes:
    """The file; with offset_buffers constants lie behind the flatbuffer, as in large models."""
    return _Writer(graphs, offset_buffers).file()


class _Writer:
    def __init__(self, graphs: tuple[Graph, ...], offset_buffers: bool) -> None:
        self.graphs = graphs
        self.offset_buffers = offset_buffers
        self.builder = flatbuffers.Builder(4096)
        self.buffers: list[bytes] = [b""]
        self.codes: list[tuple[str, int]] = []

    def file(self) -> bytes:
        graphs = [self._graph(graph) for graph in self.graphs]
        if not self.offset_buffers:
            return self._finish(graphs, [(self._vector(data), 0, 0) for data in self.buffers])
        # The length of the flatbuffer does not depend on the offsets' values.
        offsets = [(0, 1, 1)] * len(self.buffers)
        length = len(_Writer(self.graphs, True)._placed(offsets))
        length += -length % 16
        placed, tail = [(0, 0, 0)], b""
        for data in self.buffers[1:]:
            placed.append((0, length + len(tail), len(data)) if data else (0, 0, 0))
            tail += data + bytes(-len(data) % 16)
        content = _Writer(self.graphs, True)._placed([p if p[1] else (0, 1, 1) for p in placed])
        return content + bytes(length - len(content)) + tail

    def _placed(self, buffers: list[tuple[int, int, int]]) -> bytes:
        return self._finish([self._graph(graph) for graph in self.graphs], buffers)

    def _finish(self, graphs: list[int], buffers: list[tuple[int, int, int]]) -> bytes:
        builder = self.builder
        tables = []
        for data, offset, size in buffers:
            tflite.BufferStart(builder)
            if data:
                tflite.BufferAddData(builder, data)
            if offset:
                tflite.BufferAddOffset(builder, offset)
                tflite.BufferAddSize(builder, size)
            tables.append(tflite.BufferEnd(builder))
        codes = []
        for builtin, version in self.codes:
            kind, _, custom = builtin.partition(":")
            number = getattr(tflite.BuiltinOperator, kind)
            name = builder.CreateString(custom) if custom else 0
            tflite.OperatorCodeStart(builder)
            if name:
                tflite.OperatorCodeAddCustomCode(builder, name)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(number, 127))
            tflite.OperatorCodeAddBuiltinCode(builder, number)
            tflite.OperatorCodeAddVersion(builder, version)
            codes.append(tflite.OperatorCodeEnd(builder))
        vectors = [self._offsets(items) for items in (codes, graphs, tables)]
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        tflite.ModelAddOperatorCodes(builder, vectors[0])
        tflite.ModelAddSubgraphs(builder, vectors[1])
        tflite.ModelAddBuffers(builder, vectors[2])
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")
        return bytes(builder.Output())

    def _graph(self, graph: Graph) -> int:
        builder = self.builder
        tensors = self._offsets([self._tensor(tensor) for tensor in graph.tensors])
        operators = self._offsets([self._operator(operator) for operator in graph.operators])
        inputs, outputs = self._integers(graph.inputs), self._integers(graph.outputs)
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, tensors)
        tflite.SubGraphAddInputs(builder, inputs)
        tflite.SubGraphAddOutputs(builder, outputs)
        tflite.SubGraphAddOperators(builder, operators)
        return int(tflite.SubGraphEnd(builder))

    def _tensor(self, tensor: Tensor) -> int:
        builder = self.builder
        name = builder.CreateString(tensor.name)
        shape = self._integers(tensor.shape)
        signature = self._integers(tensor.signature) if tensor.signature else 0
        quantization = 0
        if tensor.scale:
            scale = self._vector(np.array(tensor.scale, "<f4"))
            zero_point = self._vector(np.array(tensor.zero_point, "<i8"))
            tflite.QuantizationParametersStart(builder)
            tflite.QuantizationParametersAddScale(builder, scale)
            tflite.QuantizationParametersAddZeroPoint(builder, zero_point)
            tflite.QuantizationParametersAddQuantizedDimension(builder, tensor.axis)
            quantization = tflite.QuantizationParametersEnd(builder)
        buffer = 0
        if tensor.data is not None:
            self.buffers.append(tensor.data)
            buffer = len(self.buffers) - 1
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, shape)
        tflite.TensorAddType(builder, getattr(tflite.TensorType, tensor.type))
        tflite.TensorAddBuffer(builder, buffer)
        tflite.TensorAddName(builder, name)
        if quantization:
            tflite.TensorAddQuantization(builder, quantization)
        if signature:
            tflite.TensorAddShapeSignature(builder, signature)
        if tensor.variable:
            tflite.TensorAddIsVariable(builder, True)
        return int(tflite.TensorEnd(builder))

    def _operator(self, operator: Operator) -> int:
        builder = self.builder
        code = (operator.builtin, operator.version)
        if code not in self.codes:
            self.codes.append(code)
        kind = OPTIONS.get(operator.builtin)
        options = 0
        if kind and operator.options is not None:
            values = {
                name: builder.CreateString(value) if isinstance(value, str) else value
                for name, value in operator.options.items()
            }
            getattr(tflite, f"{kind}Start")(builder)
            for name, value in values.items():
                getattr(tflite, f"{kind}Add{name}")(builder, value)
            options = getattr(tflite, f"{kind}End")(builder)
        custom = 0
        if operator.builtin.startswith(CUSTOM) and operator.options:
            custom = self._vector(bytes(operator.options["bytes"]))  # type: ignore[arg-type]
        inputs, outputs = self._integers(operator.inputs), self._integers(operator.outputs)
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, self.codes.index(code))
        tflite.OperatorAddInputs(builder, inputs)
        tflite.OperatorAddOutputs(builder, outputs)
        if options:
            tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, kind))
            tflite.OperatorAddBuiltinOptions(builder, options)
        if custom:
            tflite.OperatorAddCustomOptions(builder, custom)
        return int(tflite.OperatorEnd(builder))

    def _vector(self, data: Array | bytes) -> int:
        if isinstance(data, bytes):
            if not data:
                return 0
            return self._bytes(data)
        return int(self.builder.CreateNumpyVector(data))

    def _bytes(self, data: bytes) -> int:
        """Aligned to 16, which the C++ interpreters rely on."""
        builder: Any = self.builder
        builder.StartVector(1, len(data), 16)
        builder.head = builder.head - len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        return int(builder.EndVector())

    def _integers(self, values: tuple[int, ...] | list[int]) -> int:
        return self._vector(np.array(values, "<i4"))

    def _offsets(self, offsets: list[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())
