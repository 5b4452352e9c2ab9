"""ONNX files to graphs: int8 QDQ models as onnxruntime's quantize_static writes them.

Each value is quantized by the QuantizeLinear behind it; between Dequantize- and QuantizeLinear
stand float operators, which become the TFLite operators that compute the same on the codes: their
arithmetic is TFLite's, so outputs may differ from onnxruntime's by a step of their scale.
The result is what a .tflite file holds (`FileGraph`), and is imported and checked as one.

ONNX puts channels before height and width, TFLite behind.  A value is stored in the order of axes
in which its maker had it, and is transposed only for readers that need another: images stay
[1, H, W, C] from input to output.  uint8 codes become int8 ones, less 128: the same real numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinykit.errors import ModelError
from tinykit.importers.onnx_file import OnnxModel, OnnxNode, read_onnx
from tinykit.importers.onnx_values import Codes, Order, Value, channels_last, layer_name
from tinykit.importers.tflite import import_graphs
from tinykit.importers.tflite_file import NUMPY_TYPES, FileGraph, FileOperator, FileTensor
from tinykit.ir import Array, Graph

QUANTIZE_IT = (
    "quantize it: `tinykit quantize MODEL.onnx`, or onnxruntime.quantization.quantize_static with "
    "quant_format=QuantFormat.QDQ, per_channel=True, activation_type=weight_type=QuantType.QInt8"
)
QUANTIZE_ALL = (
    "onnxruntime leaves some operators in float: name them in quantize_static's "
    "op_types_to_quantize, or let `tinykit quantize MODEL.onnx` do it"
)
_TYPES = {np.dtype(name): kind for kind, name in NUMPY_TYPES.items()}
_BETWEEN = (
    "Relu", "Clip", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Dropout",
    "Identity", "MaxPool", "GlobalMaxPool", "ReduceMax", "Slice", "Gather", "Pad",
)  # fmt: skip  # what gives the same before as behind a QuantizeLinear
_HINTS = {
    "BatchNormalization": "fold it into its layer: `tinykit quantize`, or "
    "onnxruntime.quantization.shape_inference.quant_pre_process, does before quantizing",
}
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear")


def load_onnx(path: Path) -> Graph:
    """The graph of an .onnx file, checked; ModelError in one line for whatever is wrong.

    Inputs and outputs of four axes are [1, H, W, C] where ONNX has [1, C, H, W].
    """
    try:
        content = Importer(read_onnx(path)).graph()
        name = re.sub(r"\W+", "_", path.stem).strip("_") or "model"
        return import_graphs(name, (content,))
    except ModelError as error:
        raise ModelError(f"{path}: {error.message}", error.hint) from None


class Importer:
    """Goes through an ONNX model once and writes down the TFLite operators."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.values: dict[str, Value] = {}
        self.biases: dict[str, OnnxNode] = {}  # dequantized int32 constants
        self.tensors: list[FileTensor] = []
        self.operators: list[FileOperator] = []
        self.names: set[str] = set()

    def graph(self) -> FileGraph:
        from tinykit.importers.onnx_operators import CONVERTERS

        operators = {node.operator for node in self.model.nodes}
        if not operators.intersection(_QUANTIZED):
            old = sorted(o for o in operators if "QLinear" in o or o.endswith("Integer"))
            kind = f"is quantized in another form ({old[0]})" if old else "is a float model"
            raise ModelError(f"the model {kind}; supported is int8 in the QDQ form", QUANTIZE_IT)
        own = {"QuantizeLinear": Importer._quantize, "DequantizeLinear": Importer._dequantize}
        converters = {**CONVERTERS, **own}
        for node in self.model.nodes:
            convert = converters.get(node.operator)
            if convert is None:
                raise node.error(
                    "this operator is not supported",
                    _HINTS.get(node.operator) or f"supported are {', '.join(sorted(converters))}",
                )
            try:
                convert(self, node)
            except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
                what = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise node.error(f"unusual or damaged operator ({what})") from None
        inputs = [self._port(name) for name in self.model.inputs if name in self.values]
        outputs = [self._port(name) for name in self.model.outputs]
        return FileGraph(tuple(self.tensors), tuple(self.operators), tuple(inputs), tuple(outputs))

    def _port(self, name: str) -> int:
        if name not in self.values:
            raise ModelError(f"the output {name} is not quantized", QUANTIZE_ALL)
        value = self.values[name]
        usual = channels_last(value.rank), tuple(range(value.rank))
        return self.stored(value, value.order if value.order in usual else usual[0])

    # --- QuantizeLinear, DequantizeLinear --------------------------------------------------------

    def codes(self, node: OnnxNode) -> Codes:
        """The one scale and zero point of a Quantize- or DequantizeLinear of activations."""
        scale, zero = self.parameters(node)
        node.expect(scale.size == 1, f"{scale.size} scales for what is not a constant")
        return Codes(float(scale.flat[0]), int(zero.flat[0]))

    def parameters(self, node: OnnxNode) -> tuple[Array, Array]:
        """Scales (float32 values) and zero points (less 128 where codes are uint8)."""
        node.expect(
            node.integer("block_size") == 0 and len(node.inputs) > 1,
            "scales per block are not supported",
        )
        scale = self.model.constants.get(node.inputs[1])
        zero = self.model.constants.get(node.inputs[2]) if node.has(2) else None
        known = scale is not None and (zero is not None or not node.has(2))
        node.expect(known, "scale and zero point must be constants")
        assert scale is not None
        if zero is None:
            codes = self.model.constants.get(node.inputs[0], np.zeros(0, np.uint8))
            zero = np.zeros(scale.shape, codes.dtype if node.operator != _QUANTIZED[0] else "u1")
        node.expect(
            scale.size == zero.size and scale.size > 0 and scale.dtype == np.float32,
            f"{scale.size} scales ({scale.dtype}), {zero.size} zero points",
        )
        kinds = (np.int8, np.uint8, np.int32)
        node.expect(
            zero.dtype in kinds,
            f"codes are {zero.dtype}; supported are int8, uint8, and int32 for biases",
            "quantize with activation_type and weight_type QuantType.QInt8",
        )
        node.expect(
            bool(np.isfinite(scale).all() and (scale > 0).all()),
            "has a scale that is not a positive number",
        )
        return scale, zero.astype(np.int64) - 128 * (zero.dtype == np.uint8)

    def _quantize(self, node: OnnxNode) -> None:
        name, made = node.inputs[0], node.outputs[0]
        if name in self.model.constants:  # weights that onnxruntime leaves for its optimizer
            real, (scale, zero) = self.model.constants[name], self.parameters(node)
            axis = node.integer("axis", 1)
            shape = [-1 if i == axis % max(real.ndim, 1) else 1 for i in range(real.ndim)]
            low, high = (-128, 127)
            codes = np.rint(real / scale.reshape(shape if scale.size > 1 else ()))
            codes = np.clip(codes + zero.reshape(shape if scale.size > 1 else ()), low, high)
            unsigned = node.has(2) and self.model.constants[node.inputs[2]].dtype == np.uint8
            unsigned = unsigned or not node.has(2)
            self.model.constants[made] = (codes + 128 * unsigned).astype("u1" if unsigned else "i1")
            return
        codes_made = self.codes(node)
        if name in self.model.inputs and name not in self.values:
            self.values[name] = Value(name, self.shape(node, name), codes_made)
        value = self._known(node, name)
        if value.fixed and self._ends(made):
            codes_made = value.codes  # the model's last Softmax: TFLite's own codes, 1/256
        self.values[made] = self.recoded(node, value, codes_made)

    def _ends(self, name: str) -> bool:
        """Whether codes only become outputs of the model."""
        readers = self.model.readers.get(name, [])
        ends = [reader.outputs[0] for reader in readers]
        return bool(ends) and all(
            end in self.model.outputs and end not in self.model.readers for end in ends
        )

    def _dequantize(self, node: OnnxNode) -> None:
        name, made = node.inputs[0], node.outputs[0]
        if name in self.model.constants:
            self._constant(node, self.model.constants[name])
            return
        if name in self.model.inputs and name not in self.values:
            self.values[name] = Value(name, self.shape(node, name), self.codes(node))
        value = self._known(node, name)
        node.expect(
            self.codes(node) == value.codes or value.fixed or value.gate_of is not None,
            "takes codes for others than what QuantizeLinear made",
        )
        self.values[made] = value

    def _constant(self, node: OnnxNode, data: Array) -> None:
        made = node.outputs[0]
        if data.dtype == np.int32:
            self.biases[made] = node
            return
        scale, zero = self.parameters(node)
        node.expect(data.dtype in (np.int8, np.uint8), f"a constant of {data.dtype}")
        if data.dtype == np.uint8:
            data = (data.astype(np.int16) - 128).astype(np.int8)
        channels = None
        if scale.size > 1:
            node.expect(not zero.any(), "weights have a zero point other than 0",
                        "quantize with symmetric weights: weight_type QuantType.QInt8")  # fmt: skip
            axis = node.integer("axis", 1) % max(data.ndim, 1)
            node.expect(data.shape[axis] == scale.size, f"{scale.size} scales for {data.shape}")
            channels = axis, tuple(float(s) for s in scale.flat)
        codes = Codes(float(scale.flat[0]), int(zero.flat[0]))
        name = re.sub(r"_quantized$", "", node.inputs[0])
        self.values[made] = Value(name, data.shape, codes, {}, data, channels)

    # --- what converters need --------------------------------------------------------------------

    def shape(self, node: OnnxNode, name: str) -> tuple[int, ...]:
        shape = self.model.shapes.get(name)
        if shape is None:
            raise node.error(f"the shape of {name} is not known", "export it with batch size 1")
        node.expect(0 not in shape, f"{name} is empty")
        return shape

    def _known(self, node: OnnxNode, name: str) -> Value:
        if name not in self.values:
            codes = self._codes_behind(name) if name in self.model.inputs else None
            if codes is None:
                raise node.error(f"{name} is not quantized", QUANTIZE_ALL)
            self.values[name] = Value(name, self.shape(node, name), codes)
        return self.values[name]

    def input(self, node: OnnxNode, i: int = 0) -> Value:
        node.expect(node.has(i), f"input {i} is missing")
        return self._known(node, node.inputs[i])

    def integers(self, node: OnnxNode, i: int, attribute: str = "") -> list[int] | None:
        """A constant input, or the attribute that older opsets have instead; None where absent."""
        if node.has(i):
            value = self.model.constants.get(node.inputs[i])
            if value is None or value.dtype.kind not in "iu":
                raise node.error(f"input {node.inputs[i]} must be constant integers")
            return [int(n) for n in value.flat]
        if attribute in node.attributes:
            return node.integers(attribute, [])
        return None

    def number(self, node: OnnxNode, i: int, default: float) -> float:
        """A constant scalar input."""
        if not node.has(i):
            return default
        value = self.model.constants.get(node.inputs[i])
        if value is None and node.inputs[i] in self.values:
            known = self.values[node.inputs[i]]
            if known.data is not None and known.data.size == 1:
                return known.codes.scale * (int(known.data.flat[0]) - known.codes.zero_point)
        if value is None or value.size != 1:
            raise node.error(f"input {node.inputs[i]} must be one constant number")
        return float(value.flat[0])

    def target(self, node: OnnxNode, i: int = 0) -> Codes | None:
        """The codes of an output, from the QuantizeLinear behind it."""
        return self._codes_behind(node.outputs[i])

    def _codes_behind(self, name: str) -> Codes | None:
        """Of a float value; what commutes with quantizing may stand between."""
        for _ in range(len(_BETWEEN)):
            readers = self.model.readers.get(name, [])
            quantize = next((r for r in readers if r.operator == "QuantizeLinear"), None)
            if quantize is not None:
                return self.codes(quantize)
            if len(readers) != 1 or readers[0].operator not in _BETWEEN:
                return None
            name = readers[0].outputs[0]
        return None

    def output_codes(self, node: OnnxNode) -> Codes:
        codes = self.target(node)
        if codes is None:
            raise node.error(f"the output {node.outputs[0]} is not quantized", QUANTIZE_ALL)
        return codes

    def stored(self, value: Value, order: Order) -> int:
        """The index of a value's tensor with its axes in an order."""
        if order in value.stored:
            return value.stored[order]
        if value.gate_of is not None:
            raise ModelError(
                f"{value.name}: this operator is not supported by itself",
                "supported is x · HardSigmoid(x) with alpha 1/6 and beta 0.5: HardSwish",
            )
        shape = tuple(value.shape[axis] for axis in order)
        if value.data is not None:
            data = value.data.transpose(order)
            index = self.constant(value.name, data, value.codes)
        elif value.flat is not None and not value.stored:
            plain = self.stored(value.flat, tuple(range(value.flat.rank)))
            index = self.flatten(value, plain, "flat")
        elif not value.stored:
            index = self.tensor(value.name, shape, value.codes)
        else:
            old, x = next(iter(value.stored.items()))
            moved = np.array([old.index(axis) for axis in order], np.int32)
            index = self.tensor(f"{value.name}_transposed", shape, value.codes)
            order_of_axes = self.constant(f"{value.name}_axes", moved)
            self.operator("TRANSPOSE", [x, order_of_axes], [index], {}, value.name)
        value.stored[order] = index
        return index

    def recoded(self, node: OnnxNode, value: Value, codes: Codes) -> Value:
        """The same real numbers by other codes: requantized unless they are the same."""
        if codes == value.codes or value.gate_of is not None:
            return value
        if value.data is not None:
            real = (value.data.astype(np.float64) - value.codes.zero_point) * value.codes.scale
            data = np.clip(np.rint(real / codes.scale) + codes.zero_point, -128, 127)
            return Value(value.name, value.shape, codes, {}, data.astype(np.int8))
        order = value.order
        x = self.stored(value, order)
        y = self.tensor(f"{value.name}_requantized", self.tensors[x].shape, codes)
        self.operator("QUANTIZE", [x], [y], {}, node.place)
        return Value(value.name, value.shape, codes, {order: y})

    def reshape_to(
        self, x: int, shape: tuple[int, ...], codes: Codes, name: str, origin: str
    ) -> int:
        """The index of a stored tensor under another shape."""
        y = self.tensor(f"{name}_shaped", shape, codes)
        target = self.constant("shape", np.array(shape, np.int32))
        self.operator("RESHAPE", [x, target], [y], {}, origin)
        return y

    def flatten(self, value: Value, x: int, how: str) -> int:
        return self.reshape_to(x, value.shape, value.codes, f"{value.name}_{how}", value.name)

    def bias(self, name: str, data: Array, scale: tuple[float, ...]) -> int:
        zero = (0,) * len(scale)
        return self._add(FileTensor(name, data.shape, "INT32", scale, zero, 0, data))

    def made(
        self,
        node: OnnxNode,
        builtin: str,
        inputs: Sequence[int],
        order: Order,
        codes: Codes,
        options: dict[str, int | float] | None = None,
        i: int = 0,
        name: str = "",
    ) -> Value:
        """Output i of a node, made by one operator; becomes known by its name."""
        shape = self.shape(node, node.outputs[i])
        stored = tuple(shape[axis] for axis in order)
        y = self.tensor(name or layer_name(node), stored, codes)
        self.operator(builtin, inputs, [y], options or {}, node.place)
        return self.known(node, Value(node.outputs[i], shape, codes, {order: y}), i)

    def known(self, node: OnnxNode, value: Value, i: int = 0) -> Value:
        self.values[node.outputs[i]] = value
        return value

    def tensor(self, name: str, shape: tuple[int, ...], codes: Codes) -> int:
        zero = (codes.zero_point,)
        return self._add(FileTensor(name, shape, "INT8", (codes.scale,), zero, 0, None))

    def constant(self, name: str, data: Array, codes: Codes | None = None) -> int:
        data = np.ascontiguousarray(data).reshape(data.shape)
        scale, zero = ((codes.scale,), (codes.zero_point,)) if codes else ((), ())
        return self._add(FileTensor(name, data.shape, _TYPES[data.dtype], scale, zero, 0, data))

    def weights(self, value: Value, data: Array, axis: int) -> int:
        """Constant weights as a layer reads them, with one scale or one for each of `axis`."""
        scale = value.channel_scales[1] if value.channel_scales else (value.codes.scale,)
        zero = (value.codes.zero_point,) * len(scale)
        data = np.ascontiguousarray(data)
        return self._add(FileTensor(value.name, data.shape, "INT8", scale, zero, axis, data))

    def operator(
        self,
        builtin: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: dict[str, int | float],
        origin: str,
    ) -> None:
        self.operators.append(
            FileOperator(builtin, 1, tuple(inputs), tuple(outputs), options, origin=origin)
        )

    def _add(self, tensor: FileTensor) -> int:
        name = re.sub(r"\W+", "_", tensor.name).strip("_") or "value"
        unique, count = name, 1
        while unique in self.names:
            count += 1
            unique = f"{name}_{count}"
        self.names.add(unique)
        self.tensors.append(replace(tensor, name=unique))
        return len(self.tensors) - 1
