"""Quantized graphs as files (.tinykit): what `tinykit quantize` makes of scikit-learn's models.

A .npz archive: `graph` is JSON (UTF-8) with the tensors and ops, `0`, `1` … are the constants.
Nothing in it is executed.
"""

from __future__ import annotations

import dataclasses
import json
import typing
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tinykit.errors import ModelError, TinykitError
from tinykit.ir import Array, Attributes, Graph, Op, Quantization, Tensor
from tinykit.ops.base import Operator
from tinykit.ops.registry import check_shapes, operator

FORMAT = 1
SUFFIX = ".tinykit"


def save_graph(graph: Graph, path: Path) -> None:
    """Raises TinykitError when it cannot be written."""
    arrays: list[Array] = []
    tensors = [_tensor_data(tensor, arrays) for tensor in graph.tensors.values()]
    ops = [
        {
            "kind": op.kind,
            "name": op.name,
            "inputs": op.inputs,
            "outputs": op.outputs,
            "attributes": dataclasses.asdict(op.attributes),
        }
        for op in graph.ops
    ]
    text = json.dumps(
        {
            "format": FORMAT,
            "name": graph.name,
            "inputs": graph.inputs,
            "outputs": graph.outputs,
            "tensors": tensors,
            "ops": ops,
        }
    )
    named = {str(i): array for i, array in enumerate(arrays)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez_compressed(file, graph=np.frombuffer(text.encode(), np.uint8), **named)
    except OSError as error:
        raise TinykitError(f"{path}: cannot be written: {error.strerror}") from None


def load_graph(path: Path) -> Graph:
    """The graph of a .tinykit file, checked; ModelError in one line for whatever is wrong."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            data = json.loads(bytes(arrays["graph"]).decode())
            if data["format"] != FORMAT:
                raise ModelError(f"{path}: format {data['format']}; supported is {FORMAT}")
            tensors = {t["name"]: _tensor(t, arrays) for t in data["tensors"]}
        ops = tuple(map(_op, data["ops"]))
        graph = Graph(
            str(data["name"]), tensors, ops, tuple(data["inputs"]), tuple(data["outputs"])
        )
        return check_shapes(graph)
    except ModelError as error:
        raise ModelError(f"{path}: {error.message}", error.hint) from None
    except (
        OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError,
        zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, MemoryError,
    ) as error:  # fmt: skip
        raise ModelError(
            f"{path}: not a graph that tinykit wrote, or damaged ({error})",
            "make it again with `tinykit quantize`",
        ) from None


def _tensor_data(tensor: Tensor, arrays: list[Array]) -> dict[str, Any]:
    quantization = tensor.quantization
    if tensor.data is not None:
        arrays.append(tensor.data)
    return {
        "name": tensor.name,
        "shape": tensor.shape,
        "dtype": tensor.dtype,
        "quantization": None if quantization is None else dataclasses.asdict(quantization),
        "order": tensor.order,
        "data": None if tensor.data is None else str(len(arrays) - 1),
    }


def _tensor(data: dict[str, Any], arrays: Any) -> Tensor:
    quantization = data["quantization"]
    if quantization is not None:
        scale, zero_point = tuple(quantization["scale"]), tuple(quantization["zero_point"])
        quantization = Quantization(scale, zero_point, quantization["axis"])
    value = None if data["data"] is None else arrays[data["data"]]
    return Tensor(
        data["name"],
        tuple(data["shape"]),
        data["dtype"],
        quantization,
        "arena" if value is None else "flash",
        value,
        data["order"],
    )


def _op(data: dict[str, Any]) -> Op:
    attributes = _attributes_of(operator(data["kind"]))(**data["attributes"])
    names = tuple(data["inputs"]), tuple(data["outputs"])
    return Op(data["kind"], data["name"], *names, attributes, layer=data["name"])


def _attributes_of(rule: Operator[Any]) -> type[Attributes]:
    """The class of an operator's attributes: the argument of its `Operator[…]`."""
    for kind in type(rule).__mro__:
        for base in getattr(kind, "__orig_bases__", ()):
            for argument in typing.get_args(base):
                if isinstance(argument, type) and issubclass(argument, Attributes):
                    return argument
    return Attributes
