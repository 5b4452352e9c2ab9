"""Replaces the classifier of a network by a fresh one for other classes.

What is cut off begins with the last layer that has weights: a fully connected layer, or a
convolution whose output is one pixel or is averaged to one.  Features are what that layer reads,
averaged where it was averaged: mean(conv1x1(x)) = conv1x1(mean(x)).

The new layer is made for features f as they are on the user's samples.  With r^2 the mean of Σ f^2,
a weight's largest value is LARGEST_LOGIT / r: random weights of a third of that give logits of
LARGEST_LOGIT, so that learning does not drive weights into saturation.  Logits end at twice that,
for learning drives some that far: where two classes lie at an end, which is larger is lost.
Initial weights are normal with standard deviation INITIAL_LOGIT / r, and biases take their mean
off: the first logits are small, and no class is preferred.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinykit.errors import ModelError, UsageError
from tinykit.ir import Array, Attributes, Graph, Op, Quantization, Tensor
from tinykit.ops.evaluate import evaluate
from tinykit.ops.fully_connected import FullyConnectedAttributes
from tinykit.ops.growing_softmax import GrowingAttributes
from tinykit.ops.int16 import is_int16
from tinykit.ops.mean import MeanAttributes
from tinykit.ops.pointwise import PointwiseAttributes
from tinykit.ops.registry import check_shapes, operator
from tinykit.ops.reshape import ReshapeAttributes
from tinykit.ops.softmax import MAX_DEPTH, SoftmaxAttributes

LARGEST_LOGIT = 12.0  # that weights make with ease
LOGIT_RANGE = 2 * LARGEST_LOGIT  # where int8 logits end
INITIAL_LOGIT = 0.5  # standard deviation of the first logits
PROBABILITY = Quantization.per_tensor(1 / 256, -128)
AVERAGES = ("mean", "average_pool2d")
BEHIND = (*AVERAGES, "reshape", "softmax", "logistic", "quantize")  # what may follow a classifier


def replace_head(
    graph: Graph,
    classes: int,
    samples: Array,
    *,
    first: int | None = None,
    seed: int = 1,
    name: str = "head",
) -> Graph:
    """A graph with another last layer, of `classes` outputs behind softmax (one: behind a sigmoid).

    first: so many are classes from the beginning, labels bring more into use on the device.

    samples: int8 [n, …input shape], for the features' statistics.  Raises ModelError when the graph
    does not end in a classifier, UsageError for a number of classes that cannot be.
    """
    if not 1 <= classes <= MAX_DEPTH:
        raise UsageError(f"a head of {classes} classes", f"1 (yes or no) to {MAX_DEPTH} can be")
    if is_int16(graph):
        raise ModelError(f"{graph.name} has int16 activations: a new head is of int8")
    old = _classifier(graph)
    start = graph.ops.index(old)
    if any(op.name == name for op in graph.ops[:start]):
        name = f"{name}_{start}"
    graph, x = _features(replace(graph, ops=graph.ops[:start]), old, name)
    tensors = dict(graph.tensors)
    channels = tensors[x].shape[-1]
    found = [evaluate(replace(graph, outputs=(x,)), {graph.inputs[0]: s})[x] for s in samples]
    quant = tensors[x].quant
    features = (np.stack(found).reshape(-1, channels) - float(quant.zero_point0)) * quant.scale0
    spread = max(float(np.sqrt((features**2).sum(axis=1).mean())), 1e-6)

    scale = float(np.float32(LARGEST_LOGIT / spread / 127))
    random = np.random.default_rng(seed).normal(0.0, INITIAL_LOGIT / spread, (classes, channels))
    codes = np.clip(np.rint(random / scale), -127, 127).astype(np.int8)
    step = float(np.float32(quant.scale0 * scale))
    offset = -(codes * scale) @ features.mean(axis=0)
    parts = {
        "kernel": Tensor(
            f"{name}/kernel", codes.shape, "int8", Quantization.per_tensor(scale), "flash", codes,
            "pairs",
        ),
        "offset": Tensor(
            f"{name}/offset", (classes,), "int32", Quantization.per_tensor(step), "flash",
            np.rint(offset / step).astype(np.int32),
        ),
        "logits": Tensor(
            f"{name}/logits", (1, classes), "int8",
            Quantization.per_tensor(float(np.float32(LOGIT_RANGE / 127))),
        ),
        "output": Tensor(f"{name}/output", (1, classes), "int8", PROBABILITY),
    }  # fmt: skip
    kernel, bias, logits, output = (tensor.name for tensor in parts.values())
    end = "softmax"
    attributes = Attributes()
    if first is not None:
        end, attributes = "growing_softmax", GrowingAttributes(first=first)
    elif classes > 1:
        attributes = SoftmaxAttributes()
    else:
        end, attributes = "logistic", PointwiseAttributes()
    ops = (
        *graph.ops,
        Op("fully_connected", name, (x, kernel, bias), (logits,), FullyConnectedAttributes(),
           layer=name),
        Op(end, f"{name}/{end}", (logits,), (output,), attributes, layer=f"{name}/{end}"),
    )  # fmt: skip
    tensors.update((tensor.name, tensor) for tensor in parts.values())
    return check_shapes(replace(graph, tensors=tensors, ops=ops, outputs=(output,)).pruned())


def _classifier(graph: Graph) -> Op:
    """The last layer with weights, when only what belongs to a classifier comes after it."""
    behind: list[Op] = []
    for op in reversed(graph.ops):
        if operator(op.kind).trainable:
            break
        behind.append(op)
    else:
        raise ModelError(f"{graph.name}: has no layer with weights, so no head to replace")
    strange = next((late for late in behind if late.kind not in BEHIND), None)
    if strange is None and op.kind == "depthwise_conv2d":
        strange = op
    if strange is not None:
        raise ModelError(
            f"{graph.name}: does not end in a classifier: {strange.kind} {strange.name} comes "
            f"{'last of the layers with weights' if strange is op else f'after {op.name}'}",
            "a head is a fully connected layer or a convolution averaged to one pixel",
        )
    rows = graph[op.outputs[0]].size // graph[op.outputs[0]].shape[-1]
    if rows > 1 and not any(late.kind in AVERAGES for late in behind):
        raise ModelError(
            f"{graph.name}: its last layer {op.name} makes {rows} rows of classes, not one",
            "a head can be replaced where there is one prediction a sample",
        )
    return op


def _features(graph: Graph, old: Op, name: str) -> tuple[Graph, str]:
    """The graph up to one row of features [1, C] for the new layer, and that tensor."""
    x = graph[old.inputs[0]]
    kernel = graph.tensors[old.inputs[1]].shape[1:-1]
    averaged = (old.kind == "conv2d" and kernel == (1, 1)) or old.kind == "fully_connected"
    if len(x.shape) > 2 and averaged and x.size > x.shape[-1]:
        axes = tuple(range(1, len(x.shape) - 1))
        row = replace(x, name=f"{name}/features", shape=(1, x.shape[-1]))
        op = Op("mean", f"{name}/mean", (x.name,), (row.name,), MeanAttributes(axes, False),
                layer=f"{name}/mean")  # fmt: skip
    elif x.shape != (1, x.size):
        row = replace(x, name=f"{name}/features", shape=(1, x.size))
        op = Op("reshape", f"{name}/reshape", (x.name,), (row.name,), ReshapeAttributes(row.shape),
                layer=f"{name}/reshape")  # fmt: skip
    else:
        return graph, x.name
    graph = graph.with_tensors([row])
    return replace(graph, ops=(*graph.ops, op)), row.name
