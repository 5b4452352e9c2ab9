"""ONNX models made node by node, quantized by onnxruntime itself, and run by it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tflite
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tests.support.tflite_writer import OPTIONS, TYPES, Graph, write
from tinykit.importers.onnx import Importer
from tinykit.importers.onnx_file import read_onnx
from tinykit.importers.tflite_file import FileGraph, FileOperator
from tinykit.ir import Array

node = helper.make_node


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, samples: Array) -> None:
        self.samples = iter([{name: sample[None]} for sample in samples])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.samples, None)


def float_model(
    nodes: Sequence[Any],
    shape: Sequence[int | str],
    constants: dict[str, Array],
    opset: int = 17,
    outputs: Sequence[str] = ("y",),
) -> Any:
    """A model of nodes from x to y, as torch.onnx.export writes it: ONNX's order of axes."""
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        list(nodes), "main_graph", [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    version = 10 if opset > 19 else 8
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=version
    )
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    del inferred.graph.value_info[:]
    return inferred


def quantized(
    model: Any,
    samples: Array,
    activations: str = "QInt8",
    per_channel: bool = True,
    everything: bool = False,
    **more: Any,
) -> bytes:
    """What onnxruntime.quantization.quantize_static makes of a model with samples [n, …].

    everything: operators that it leaves in float unless asked, too."""
    if everything:
        more["op_types_to_quantize"] = sorted({made.op_type for made in model.graph.node})
        more.setdefault("extra_options", {"ForceQuantizeNoInputCheck": True})
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "q.onnx"
        quantize_static(
            model, str(path), _Samples("x", samples), quant_format=QuantFormat.QDQ,
            per_channel=per_channel, activation_type=QuantType[activations],
            **{"weight_type": QuantType.QInt8, **more},
        )  # fmt: skip
        return path.read_bytes()


def run_onnxruntime(model: bytes, x: Array) -> list[Array]:
    """The real outputs for real inputs: Quantize- and DequantizeLinear as they stand there."""
    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, {session.get_inputs()[0].name: x})
    return outputs


def file_graph(path: Path) -> FileGraph:
    return Importer(read_onnx(path)).graph()


def as_tflite(graph: FileGraph) -> bytes:
    """The .tflite file of an imported model's operators, for TensorFlow Lite Micro.

    Explicit paddings, which TFLite does not have, become PADs."""
    made = Graph()
    types = {np.dtype(name).newbyteorder("="): kind for name, kind in TYPES.items()}
    for t in graph.tensors:
        if t.data is not None:
            index = made.constant(np.ascontiguousarray(t.data), t.scale, t.zero_point, t.axis)
            assert made.tensors[index].type == types[t.data.dtype]
        else:
            made.tensor(t.shape, t.scale[0], t.zero_point[0], t.type)
    for o in graph.operators:
        o = _padded(graph, made, o) if "PadTop" in o.options else o
        schema = OPTIONS.get(o.builtin, "")
        known = {k: v for k, v in o.options.items() if hasattr(tflite, f"{schema}Add{k}")}
        made.operator(o.builtin, list(o.inputs), list(o.outputs), known)
    made.inputs, made.outputs = list(graph.inputs), list(graph.outputs)
    content: bytes = write(made)
    return content


def _padded(graph: FileGraph, made: Graph, o: FileOperator) -> FileOperator:
    x = made.tensors[o.inputs[0]]
    pads = [int(o.options[f"Pad{side}"]) for side in ("Top", "Bottom", "Left", "Right")]
    amounts = np.array([(0, 0), pads[:2], pads[2:], (0, 0)], np.int32)
    shape = tuple(n + int(a.sum()) for n, a in zip(x.shape, amounts, strict=True))
    y = made.tensor(shape, x.scale[0], x.zero_point[0])
    inputs = [o.inputs[0], made.constant(amounts)]
    if o.builtin == "MAX_POOL_2D":
        inputs.append(made.constant(np.array([-128], np.int8), x.scale, x.zero_point))
    made.operator("PADV2" if len(inputs) > 2 else "PAD", inputs, y)
    return FileOperator(o.builtin, 1, (y, *o.inputs[1:]), o.outputs, o.options)
