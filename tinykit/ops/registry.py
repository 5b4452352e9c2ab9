"""Finds the operators: every module of this folder that defines OPERATOR or OPERATORS."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

import tinykit.ops
from tinykit.errors import ModelError
from tinykit.ir import Graph
from tinykit.ops.base import Operator


@cache
def operators() -> dict[str, Operator[Any]]:
    """All operators by kind."""
    found: dict[str, Operator[Any]] = {}
    for module_info in pkgutil.iter_modules(tinykit.ops.__path__):
        module = importlib.import_module(f"tinykit.ops.{module_info.name}")
        single = getattr(module, "OPERATOR", None)
        for op in (single,) if single is not None else getattr(module, "OPERATORS", ()):
            found[op.kind] = op
    return found


def operator(kind: str) -> Operator[Any]:
    """The operator of that kind; ModelError when there is none."""
    try:
        return operators()[kind]
    except KeyError:
        raise ModelError(f"unknown operator {kind}") from None


def tflite_operators(int16: bool = False) -> dict[str, Operator[Any]]:
    """The operators by the names of the TFLite builtins that become them.

    int16: where activations are int16, as against int8.
    """
    every = operators().values()
    return {name: op for op in every for name in (op.int16 if int16 else op.tflite)}


def check_shapes(graph: Graph) -> Graph:
    """Raise ModelError unless each tensor has the shape that its operator's rule demands."""
    for op in graph.ops:
        expected = operator(op.kind).shapes(graph, op)
        actual = tuple(graph[name].shape for name in op.outputs)
        if expected != actual:
            raise ModelError(
                f"{graph.name}: {op.kind} {op.name} makes {list(map(list, expected))}, "
                f"but the model declares {list(map(list, actual))}"
            )
    return graph.check()
