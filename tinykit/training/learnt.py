"""Makes what was learnt the model, so that another plan, or other channels, can go on from there.

    tinykit train --save 1.bin
    tinykit plan --resample 7 --write other.toml  # as many channels, random ones: the same bytes
    $EDITOR tinykit.toml       # [model] learnt = [{plan = "plan.toml", saved = "1.bin"}],
                               # [plan] path = "other.toml"
    tinykit build && tinykit train

Trained weights and biases become constants again; fractions, momentum and counters are left behind.
Channels stay in the order in which the last plan needed them: numbers in `channels` count in that
order.  Which channels learn is settled when the C is made, so the firmware changes with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tinykit.ir import Array, Graph, Op, Quantization, Tensor
from tinykit.ops.registry import check_shapes


def with_learnt(graph: Graph, values: Mapping[str, Array]) -> Graph:
    """The graph without parameters, computing the same.

    graph: that of inference; values: of each parameter of it, by name, in its shape.
    """
    changed = [
        replace(tensor, storage="flash", data=values[tensor.name])
        for tensor in graph.tensors.values()
        if tensor.storage == "parameters"
    ]
    graph = graph.with_tensors(changed)
    tensors, ops = dict(graph.tensors), list[Op]()
    for op in graph.ops:
        if len(op.inputs) > 3 and op.inputs[3]:
            whole = _joined(op, tensors[op.inputs[1]], tensors[op.inputs[3]])
            tensors[whole.name] = whole
            op = replace(op, inputs=(op.inputs[0], whole.name, op.inputs[2]))
        ops.append(op)
    return check_shapes(replace(graph, tensors=tensors, ops=tuple(ops)).pruned())


def _joined(op: Op, first: Tensor, rest: Tensor) -> Tensor:
    """Both blocks of a partly trained layer's weights as one tensor again."""
    data = np.concatenate([first.value, rest.value], axis=-1)
    quantization = first.quant
    if quantization.axis == len(first.shape) - 1:
        a, b = first.quant, rest.quant
        quantization = Quantization(a.scale + b.scale, a.zero_point + b.zero_point, a.axis)
    return replace(
        first, name=f"{op.name}/learnt", shape=data.shape, data=data, quantization=quantization
    )
