"""Dilated convolutions that a converter has spelt out, put together again.

For an unknown batch TensorFlow's converter writes a convolution of dilation d as SPACE_TO_BATCH_ND
(every d-th row and column becomes a batch of its own), the convolution without dilation, and
BATCH_TO_SPACE_ND.  In 1-D there is an EXPAND_DIMS before and a reshape behind the convolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tinykit.importers.tflite_file import FileGraph, FileOperator

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_BEHIND = ("SQUEEZE", "RESHAPE")


@dataclass(frozen=True)
class _Chain:
    """Indices of operators; -1 where there is no reshape."""

    split: int
    before: int
    convolution: int
    behind: int
    join: int


def join_dilations(graph: FileGraph) -> FileGraph:
    """The same graph with dilated convolutions in place of such chains."""
    for index, operator in enumerate(graph.operators):
        if operator.builtin == "SPACE_TO_BATCH_ND":
            chain = _chain(graph, index)
            joined = _joined(graph, chain) if chain else None
            if joined is not None:
                return join_dilations(joined)
    return graph


def only_reader(graph: FileGraph, index: int) -> int:
    """The operator that alone reads what operator `index` makes, or -1."""
    outputs = graph.operators[index].outputs
    readers = [
        i for i, operator in enumerate(graph.operators) if set(outputs) & set(operator.inputs)
    ]
    alone = len(readers) == 1 and not set(outputs) & set(graph.outputs)
    return readers[0] if alone and readers[0] > index else -1


def _chain(graph: FileGraph, split: int) -> _Chain | None:
    before, behind = -1, -1
    convolution = only_reader(graph, split)
    if convolution >= 0 and graph.operators[convolution].builtin == "EXPAND_DIMS":
        before, convolution = convolution, only_reader(graph, convolution)
    if convolution < 0 or graph.operators[convolution].builtin not in _CONVOLUTIONS:
        return None
    join = only_reader(graph, convolution)
    if join >= 0 and graph.operators[join].builtin in _BEHIND:
        behind, join = join, only_reader(graph, join)
    if join < 0 or graph.operators[join].builtin != "BATCH_TO_SPACE_ND":
        return None
    return _Chain(split, before, convolution, behind, join)


def _joined(graph: FileGraph, chain: _Chain) -> FileGraph | None:
    operators = graph.operators
    split, join = operators[chain.split], operators[chain.join]
    convolution = operators[chain.convolution]
    block, pads = _integers(graph, split, 1), _integers(graph, split, 2)
    crops = _integers(graph, join, 2)
    axes = len(block)
    fits = (
        axes in (1, 2)
        and len(pads) == len(crops) == 2 * axes
        and block == _integers(graph, join, 1)
        and convolution.options.get("Padding") == 1
        and all(convolution.options.get(name, 1) == 1 for name in
                ("StrideH", "StrideW", "DilationHFactor", "DilationWFactor"))
        and (axes == 2) == (chain.before < 0)
        and (axes == 2) == (chain.behind < 0)
    )  # fmt: skip
    around = [pad - crop for pad, crop in zip(pads, crops, strict=True)] if fits else [-1]
    if min(around) < 0 or min(block) < 1:
        return None
    if axes == 1:  # a map of one row
        block, around = [1, *block], [0, 0, *around]
    options = dict(convolution.options) | {
        "DilationHFactor": block[0], "DilationWFactor": block[1],
        "PadTop": around[0], "PadBottom": around[1], "PadLeft": around[2], "PadRight": around[3],
    }  # fmt: skip
    made = list(operators)
    x, y = split.inputs[0], join.outputs[0]
    resized: tuple[int, ...] = ()
    if axes == 1:
        first, last = made[chain.before], made[chain.behind]
        made[chain.before] = replace(first, inputs=(x, *first.inputs[1:]))
        made[chain.convolution] = replace(convolution, options=options)
        made[chain.behind] = FileOperator("RESHAPE", 1, last.inputs[:1], (y,), {})
        resized = (first.outputs[0], convolution.outputs[0])
    else:
        inputs = (x, *convolution.inputs[1:])
        made[chain.convolution] = replace(convolution, inputs=inputs, outputs=(y,), options=options)
    tensors = tuple(
        replace(tensor, dynamic=tuple(range(len(tensor.shape)))) if i in resized else tensor
        for i, tensor in enumerate(graph.tensors)
    )
    kept = tuple(o for i, o in enumerate(made) if i not in (chain.split, chain.join))
    return replace(graph, operators=kept, tensors=tensors)


def _integers(graph: FileGraph, operator: FileOperator, i: int) -> list[int]:
    """A constant input's values; empty where it is not one."""
    if i >= len(operator.inputs) or operator.inputs[i] < 0:
        return []
    data = graph.tensors[operator.inputs[i]].data
    return [] if data is None or data.dtype.kind not in "iu" else [int(v) for v in data.flat]
