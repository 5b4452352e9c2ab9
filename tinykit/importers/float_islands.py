"""Operators for which a converter has no int8: float32 between a DEQUANTIZE and a QUANTIZE.

They become operators from int8 to int8 again, in the same arithmetic: the NEG of layer
normalization, for instance, and the SQUARE of Keras's UnitNormalization.
"""

from __future__ import annotations

from dataclasses import replace

from tinykit.importers.dilation import only_reader
from tinykit.importers.tflite_file import FileGraph

FLOAT = ("NEG", "SQUARE")  # of them the operator's file knows the arithmetic


def join_float_islands(graph: FileGraph) -> FileGraph:
    """The same graph with one operator in place of DEQUANTIZE, a float operator, QUANTIZE."""
    operators = dict(enumerate(graph.operators))
    for first, operator in enumerate(graph.operators):
        middle = only_reader(graph, first) if operator.builtin == "DEQUANTIZE" else -1
        if middle < 0 or graph.operators[middle].builtin not in FLOAT:
            continue
        last = only_reader(graph, middle)
        if last >= 0 and graph.operators[last].builtin == "QUANTIZE":
            operators[last] = replace(
                graph.operators[middle],
                inputs=operator.inputs,
                outputs=graph.operators[last].outputs,
            )
            del operators[first], operators[middle]
    return replace(graph, operators=tuple(operators.values()))
