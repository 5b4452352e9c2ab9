"""One operator of a TFLite file, as `Operator.from_tflite` sees it.

Its methods hand out tensors that are checked for what tinykit's kernels compute, and word the
errors: each names the operator, its index and the tensor it makes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from tinykit.errors import ModelError
from tinykit.importers.tflite_file import FileTensor
from tinykit.ir import Array, Attributes, Op, Quantization, Tensor
from tinykit.ir.tensor import DType
from tinykit.ops.window import Pair, same_padding

IR_TYPES: dict[str, DType] = {
    "INT8": "int8", "UINT8": "uint8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FLOAT32": "float32",
}  # fmt: skip
ACTIVATIONS = {0: "none", 1: "relu", 2: "relu_n1_to_1", 3: "relu6"}
RANGES = {"int8": (-128, 127), "uint8": (0, 255)}  # of zero points; 0 for all other types
FULL_INT8 = "tinykit runs fully quantized int8 models; `tinykit quantize` makes one"


def int16_operators() -> str:
    """Which operators take int16 activations."""
    from tinykit.ops.registry import tflite_operators

    return f"int16 activations (int16x8) go through {', '.join(sorted(tflite_operators(True)))}"


@dataclass(frozen=True)
class TfliteNode:
    """index: place among the file's operators; name: of the layer it becomes.

    inputs, outputs: tensor names, "" where absent; files: the tensors as the file has them;
    tensors: those that ops use, which `from_tflite` may add to.
    """

    LARGEST: ClassVar[int] = 65535  # dimension, kernel, stride or dilation that fits uint16

    builtin: str
    index: int
    version: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, int | float]
    files: dict[str, FileTensor]
    tensors: dict[str, Tensor]
    origin: str = ""  # the node of another format that it was
    types: tuple[DType, ...] = ("int8",)  # of its activations

    @property
    def place(self) -> str:
        """ "CONV_2D #3 (makes x)", or its origin."""
        if self.origin:
            return f"{self.origin} as {self.builtin}"
        made = f" (makes {self.outputs[0].split(';')[0]})" if self.outputs else ""
        return f"{self.builtin} #{self.index}{made}"

    def error(self, message: str, hint: str = "") -> ModelError:
        """An error that names this operator; to be raised."""
        return ModelError(f"{self.place}: {message}", hint)

    def expect(self, condition: bool, message: str, hint: str = "") -> None:
        if not condition:
            raise self.error(message, hint)

    def expect_counts(self, inputs: range, outputs: int = 1) -> None:
        """The number of inputs (absent ones at the end do not count) and outputs."""
        given = len(self.inputs)
        while given and not self.inputs[given - 1]:
            given -= 1
        self.expect(
            given in inputs and all(self.inputs[: inputs.start]),
            f"{given} inputs where {inputs.start} to {inputs.stop - 1} are possible",
        )
        self.expect(len(self.outputs) == outputs, f"{len(self.outputs)} outputs, not {outputs}")

    def option(self, name: str, default: int = 0) -> int:
        return int(self.options.get(name, default))

    def has(self, i: int) -> bool:
        return i < len(self.inputs) and bool(self.inputs[i])

    # --- tensors ---------------------------------------------------------------------------------

    @property
    def int16(self) -> bool:
        """Whether its activations are int16."""
        return self.types == ("int16",)

    def input(self, i: int = 0, types: tuple[DType, ...] = ()) -> Tensor:
        """An activation (or a constant in its place), quantized per tensor."""
        self.expect(self.has(i), f"input {i} is missing")
        return self._quantized(self.inputs[i], types or self.types)

    def output(self, types: tuple[DType, ...] = (), i: int = 0) -> Tensor:
        return self._quantized(self.outputs[i], types or self.types)

    def options_list(self, name: str) -> list[int]:
        """A vector among the options."""
        return [int(v) for k, v in self.options.items() if k.startswith(f"{name}[")]

    def shape_output(self, shape: tuple[int, ...], i: int = 0) -> None:
        """Gives an output the shape that the operator makes, where the file does not know it."""
        name = self.outputs[i]
        file = self.files[name]
        if not file.dynamic or file.shape == shape:
            return
        self.files[name] = replace(file, shape=shape)
        if name in self.tensors:
            self.tensors[name] = replace(self.tensors[name], shape=shape)

    def constant(self, i: int) -> Array:
        """The value of an input that must be known now: axes, paddings, shapes."""
        self.expect(self.has(i), f"input {i} is missing")
        name = self.inputs[i]
        data = self.files[name].data
        if data is None:
            raise self.error(f"input {name} must be a constant")
        self.expect(data.dtype.kind in "iu", f"input {name} must be integers")
        return data

    def weights(self, i: int, axis: int, rank: int, int4: bool = False) -> Tensor:
        """Constant int8 weights with zero point 0, per tensor or per channel along `axis`.

        int4: whether the file may hold them as INT4; they become int8 of the same values.
        """
        file = self.files.get(self.inputs[i]) if self.has(i) else None
        int4 = int4 and not self.int16
        if int4 and file is not None and file.type == "INT4" and file.data is not None:
            self.files[self.inputs[i]] = replace(file, type="INT8")
        tensor = self._tensor(self.inputs[i] if self.has(i) else "", ("int8",))
        channel_axis = tensor.quantization.axis if tensor.quantization else None
        self.expect(tensor.data is not None, f"weights {tensor.name} must be constant")
        self.expect(
            len(tensor.shape) == rank and tensor.size > 0,
            f"weights {tensor.name} have shape {list(tensor.shape)}, not {rank} dimensions",
        )
        quant = self._quantization(tensor)
        self.expect(
            not any(quant.zero_point),
            f"weights {tensor.name} have a zero point other than 0",
            "int8 weights must be symmetric: convert the model with int8, not uint8, weights",
        )
        self.expect(
            not quant.per_channel
            or (channel_axis == axis and len(quant.scale) == tensor.shape[axis]),
            f"weights {tensor.name}{list(tensor.shape)} have {len(quant.scale)} scales along "
            f"axis {channel_axis}; supported is one, or one for each channel of axis {axis}",
        )
        if axis == 0 and tensor.order == "plain":  # as convolutions read them
            tensor = replace(tensor, order="pairs")
            self.add(tensor)
        self.expect(
            tensor.order == ("pairs" if axis == 0 else "plain"),
            f"weights {tensor.name} serve another kind of layer, too",
        )
        return tensor

    def bias(self, i: int, channels: int) -> str:
        """The name of the constant bias [channels], or "" where there is none.

        int32, or int64 as well where activations are int16.
        """
        if not self.has(i):
            return ""
        tensor = self._tensor(self.inputs[i], ("int32", "int64") if self.int16 else ("int32",))
        self.expect(tensor.data is not None, f"bias {tensor.name} must be constant")
        self.expect(
            tensor.size == channels,
            f"bias {tensor.name} has {tensor.size} values for {channels} channels",
        )
        if tensor.shape != (channels,):
            self.add(replace(tensor, shape=(channels,), data=tensor.value.reshape(channels)))
        return tensor.name

    def constant_tensor(self, i: int, types: tuple[DType, ...]) -> Tensor:
        """A constant other than the usual weights, quantized per tensor."""
        tensor = self.input(i, types)
        self.expect(tensor.data is not None, f"{tensor.name} must be constant")
        return tensor

    def variable(self, i: int, dtype: DType, size: int) -> Tensor:
        """A variable tensor of this operator alone; it begins as zeros, as in TFLM."""
        tensor = self.input(i, (dtype,))
        self.expect(
            tensor.storage == "arena" and self.files[tensor.name].is_variable,
            f"state {tensor.name} is not a variable of this operator alone",
        )
        self.expect(tensor.size == size, f"state {tensor.name} has shape {list(tensor.shape)}")
        zero = tensor.quant.zero_point0 if dtype == "int8" else 0
        data = np.full(tensor.shape, zero, np.dtype(dtype))
        return self.tensors[self.add(replace(tensor, storage="state", data=data))]

    def check_accumulators(self, x: Tensor, weights: Tensor, channel_axis: int) -> None:
        """Refuse weights whose sums could leave int32 for some input.

        The bias is added last and may wrap, as in TFLM: converters saturate the biases of
        channels whose weights are almost zero.
        """
        zero_point = x.quant.zero_point0
        largest = max(127 - zero_point, zero_point + 128)
        axes = tuple(i for i in range(len(weights.shape)) if i != channel_axis)
        bound = largest * np.abs(weights.value.astype(np.int64)).sum(axis=axes)
        self.expect(
            int(bound.max()) < 2**31,
            f"sums of channel {int(bound.argmax())} can exceed 32 bits",
            "use fewer input channels or a smaller kernel",
        )

    def add(self, tensor: Tensor) -> str:
        """Declare a tensor that the file does not have (or not so); returns its name."""
        self.tensors[tensor.name] = tensor
        return tensor.name

    def expect_same_quantization(self, x: Tensor, y: Tensor) -> None:
        """For operators that move or compare codes without rescaling them."""
        self.expect(
            x.quant.zero_point0 == y.quant.zero_point0
            and math.isclose(x.quant.scale0, y.quant.scale0, rel_tol=1e-5),
            f"input and output must have one quantization, not {x.quant.scale0:g}/"
            f"{x.quant.zero_point0} and {y.quant.scale0:g}/{y.quant.zero_point0}",
        )

    # --- attributes ------------------------------------------------------------------------------

    @property
    def activation(self) -> str:
        """The fused activation."""
        code = self.option("FusedActivationFunction")
        self.expect(
            code in ACTIVATIONS,
            f"fused activation {code} is not supported",
            f"supported are {', '.join(ACTIVATIONS.values())}",
        )
        return ACTIVATIONS[code]

    def pair(self, height: str, width: str) -> Pair:
        """Two options that must be at least 1, such as strides."""
        pair = self.option(height, 1), self.option(width, 1)
        self.expect(
            all(1 <= value <= self.LARGEST for value in pair),
            f"{height} {pair[0]}, {width} {pair[1]} are out of range",
        )
        return pair

    def padding(
        self, size: Pair, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)
    ) -> tuple[int, int, int, int]:
        """(top, bottom, left, right) for the options' SAME or VALID; the window has to fit."""
        mode, given = self.option("Padding"), (0, 0, 0, 0)
        self.expect(mode in (0, 1), f"padding mode {mode} is not SAME or VALID")
        self.expect(
            max(*size, *kernel) <= self.LARGEST, f"sizes {[*size, *kernel]} are out of range"
        )
        if "PadTop" in self.options:  # see tinykit.importers.dilation
            top, bottom = self.option("PadTop"), self.option("PadBottom")
            left, right = self.option("PadLeft"), self.option("PadRight")
            given = top, bottom, left, right
            size = size[0] + top + bottom, size[1] + left + right
        if mode == 1:
            reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
            self.expect(
                all(r <= s for r, s in zip(reach, size, strict=True)),
                f"a window of {reach} does not fit into an input of {list(size)}",
            )
            return given
        top, bottom = same_padding(size[0], kernel[0], stride[0], dilation[0])
        left, right = same_padding(size[1], kernel[1], stride[1], dilation[1])
        return top, bottom, left, right

    def op(self, kind: str, inputs: tuple[str, ...], attributes: Attributes | None = None) -> Op:
        """The op that makes this operator's output."""
        return Op(
            kind, self.name, inputs, (self.outputs[0],), attributes or Attributes(),
            layer=self.name,
        )  # fmt: skip

    # --- inside ----------------------------------------------------------------------------------

    def _tensor(self, name: str, types: tuple[DType, ...]) -> Tensor:
        self.expect(bool(name), "an input is missing")
        if name in self.tensors:
            tensor = self.tensors[name]
            self._expect_type(name, tensor.dtype, types)
            return tensor
        file = self.files[name]
        dtype = IR_TYPES.get(file.type)
        self._expect_type(name, dtype or file.type.lower(), types)
        assert dtype is not None
        quantization = None
        if file.scale:
            axis = file.axis if len(file.scale) > 1 else None
            quantization = Quantization(file.scale, file.zero_point, axis)
        tensor = Tensor(
            name, file.shape, dtype, quantization,
            "arena" if file.data is None else "flash", file.data,
        )  # fmt: skip
        self.tensors[name] = tensor
        return tensor

    def _expect_type(self, name: str, dtype: str, types: tuple[DType, ...]) -> None:
        self.expect(
            dtype in types,
            f"tensor {name} is {dtype}; supported is {' or '.join(types)}",
            (int16_operators() if dtype == "int16" else FULL_INT8) if "int8" in types else "",
        )

    def _quantized(self, name: str, types: tuple[DType, ...]) -> Tensor:
        tensor = self._tensor(name, types)
        quant = self._quantization(tensor)
        self.expect(not quant.per_channel, f"tensor {name} is quantized per channel")
        self.expect(tensor.order == "plain", f"tensor {name} serves as weights, too")
        scalar = tensor.shape == () and not tensor.constant
        self.expect(0 not in tensor.shape and not scalar, f"tensor {name} is empty")
        return tensor

    def _quantization(self, tensor: Tensor) -> Quantization:
        """A tensor's quantization, sound: finite positive scales, zero points in range."""
        quant = tensor.quantization
        if quant is None:
            raise self.error(f"tensor {tensor.name} is not quantized", FULL_INT8)
        scale = np.asarray(quant.scale)
        self.expect(
            bool(np.all(np.isfinite(scale)) and np.all(scale > 0)),
            f"tensor {tensor.name} has a scale that is not a positive number",
        )
        self.expect(
            tensor.dtype != "int16" or not any(quant.zero_point),
            f"tensor {tensor.name} is int16 with a zero point other than 0",
        )
        low, high = RANGES.get(tensor.dtype, (0, 0))
        self.expect(
            all(low <= z <= high for z in quant.zero_point),
            f"tensor {tensor.name} has a zero point outside {low} … {high}",
        )
        return quant
