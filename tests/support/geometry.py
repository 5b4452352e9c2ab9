"""Which rows of its input a kernel reads for a row of its output, from the C descriptor alone."""

from __future__ import annotations

from tinykit.ir import Graph, Op
from tinykit.ops.base import Struct
from tinykit.ops.registry import operator

KINDS_BY_WINDOW = frozenset({"conv2d", "depthwise_conv2d", "average_pool2d", "max_pool2d"})
KINDS_BY_ELEMENT = frozenset(
    {
        *("add", "mul", "sub", "minimum", "maximum", "squared_difference", "prelu"),
        *("relu", "relu6", "quantize", "lookup", "logistic", "tanh", "leaky_relu", "hard_swish"),
        *("elu", "abs", "rsqrt", "exp", "gelu"),
        *("add_int16", "logistic_int16", "tanh_int16", "leaky_relu_int16"),
    }
)


def _fields(graph: Graph, op: Op) -> dict[str, int]:
    """The numbers of the window of a row's descriptor, or of the descriptor itself."""
    form = operator(op.kind).rows(graph, op)
    descriptor = (form.call if form else operator(op.kind).lower(graph, op)[0]).descriptor
    assert descriptor is not None
    window = descriptor.fields.get("window")
    fields = window.fields if isinstance(window, Struct) else descriptor.fields
    return {name: value for name, value in fields.items() if isinstance(value, int)}


def output_rows(graph: Graph, op: Op) -> int | None:
    """Rows of the output, for kernels that make it row by row; None for others."""
    shape = graph[op.outputs[0]].shape if op.outputs else ()
    if len(shape) != 4 or len(graph[op.inputs[0]].shape) != 4:
        return None
    pads = op.kind == "pad" and graph[op.inputs[0]].dtype == "int8"
    if op.kind in KINDS_BY_WINDOW or op.kind in KINDS_BY_ELEMENT or pads:
        return shape[1]
    return None


def input_rows(graph: Graph, op: Op, name: str, row: int) -> list[int]:
    """Rows of input `name` under the window of row `row` of the output, in order: those between the
    taps of a dilated window as well, for which the generated loops wait, too."""
    fields = _fields(graph, op)
    if op.kind in KINDS_BY_ELEMENT:
        return [row]
    if op.kind == "pad":
        y = row - fields["top"]
        return [y] if 0 <= y < fields["height"] else []
    start = row * fields["stride_height"] - fields["pad_top"]
    end = start + (fields["kernel_height"] - 1) * fields["dilation_height"] + 1
    return list(range(max(start, 0), min(end, fields["input_height"])))
