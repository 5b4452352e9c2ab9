"""Which loss a network learns by, on which of its tensors, and what it is told."""

from __future__ import annotations

from typing import cast

from tinykit.errors import PlanError
from tinykit.ir import Graph, Op
from tinykit.ops.growing_softmax import GrowingAttributes, GrowingLossAttributes
from tinykit.ops.int16 import refuse_int16
from tinykit.ops.registry import operator
from tinykit.ops.softmax_cross_entropy import LossAttributes
from tinykit.ops.target import Loss, TargetForm
from tinykit.ops.triplet import STATES as CENTRES
from tinykit.ops.triplet import TripletAttributes
from tinykit.training.plan import Optimizer, Training

SOFTMAX, SIGMOID, SQUARED = "softmax_cross_entropy", "sigmoid_cross_entropy", "mean_squared_error"
GROWING, TRIPLET = "growing_softmax_cross_entropy", "triplet"
CROSS_ENTROPIES = (SOFTMAX, SIGMOID, GROWING)
BY_ENDING = {
    "softmax": SOFTMAX,
    "logistic": SIGMOID,
    "growing_softmax": GROWING,
    "class_centres": TRIPLET,
}  # the loss that an activation belongs to


def loss_of(graph: Graph, training: Training | None = None) -> tuple[str, str]:
    """(kind of the loss, the tensor it is computed on) of a forward graph.

    Without a loss in the plan, the network's last operator says it: SOFTMAX, LOGISTIC, or logits
    for softmax cross-entropy.  Cross-entropies are computed in front of their activation.  Raises
    PlanError when the network does not end as the loss needs it, or could be an autoencoder.
    """
    training = training or Training()
    output = graph[graph.outputs[0]]
    producer = graph.producer(before_reshapes(graph, output.name))
    if producer is not None and producer.kind == "join":
        raise PlanError(
            f"{graph.name} has {len(producer.inputs)} outputs; one can learn",
            f"choose it in tinykit.toml: [model] output; it has {', '.join(producer.inputs)}",
        )
    ending = BY_ENDING.get(producer.kind) if producer is not None else None
    if training.loss is None and ending is None and output.shape == graph[graph.inputs[0]].shape:
        raise PlanError(
            f"{graph.name}: output and input have the same shape; is it an autoencoder?",
            f'name the loss in the plan: [training] loss = "{SQUARED}", target = "input"',
        )
    kind = training.loss or ending or SOFTMAX
    kind = GROWING if ending == GROWING and kind == SOFTMAX else kind
    if ending is not None and producer is not None and ending != kind != SQUARED:
        raise PlanError(
            f"{graph.name}: ends in {producer.kind}, so it cannot learn by {kind}",
            f'[training] loss = "{ending}", or export the model without {producer.kind}',
        )
    tensor = producer.inputs[0] if producer is not None and ending == kind else output.name
    _check(graph, kind, tensor, training, producer)
    return kind, tensor


def logits_of(graph: Graph) -> str:
    """The tensor that the loss of a network with its usual loss is computed on."""
    return loss_of(graph)[1]


def before_reshapes(graph: Graph, tensor: str) -> str:
    """The tensor whose bytes `tensor` is, under the shape in which a layer made it."""
    producer = graph.producer(tensor)
    while producer is not None and operator(producer.kind).alias:
        tensor = producer.inputs[0]
        producer = graph.producer(tensor)
    return tensor


def target_form(graph: Graph) -> TargetForm:
    """What the loss of a training graph takes."""
    op = next(op for op in graph.ops if op.phase == "loss")
    return cast(Loss, operator(op.kind)).target(graph, op)


def form_of(graph: Graph, training: Training) -> TargetForm:
    """What the loss of a forward graph will take."""
    kind, tensor = loss_of(graph, training)
    op = loss_op(graph, kind, tensor, (), Optimizer(), training)
    return cast(Loss, operator(kind)).target(graph, op)


def loss_op(
    graph: Graph,
    kind: str,
    tensor: str,
    outputs: tuple[str, ...],
    optimizer: Optimizer,
    training: Training,
) -> Op:
    """The loss on `tensor`; that of a growing head knows how many classes there are to begin with,
    and that of embeddings keeps their centres."""
    inputs = (tensor, *(graph.inputs if training.target == "input" else ()))
    updates: tuple[str, ...] = ()
    producer = graph.producer(before_reshapes(graph, graph.outputs[0]))
    attributes = LossAttributes(optimizer.skip_below, optimizer.guard_loss)
    if kind in (SQUARED, TRIPLET) and optimizer.skip_below > 0:
        raise PlanError(
            f"{graph.name}: [optimizer] skip_below is for probabilities, not for {kind}",
            "leave it out",
        )
    if producer is not None and isinstance(producer.attributes, GrowingAttributes):
        first = producer.attributes.first
        attributes = GrowingLossAttributes(optimizer.skip_below, optimizer.guard_loss, first)
    if kind == TRIPLET:
        attributes = TripletAttributes(0.0, optimizer.guard_loss, training.classes, training.margin)
        updates = CENTRES
    return Op(kind, "loss", (*inputs, *updates), outputs, attributes, updates, "loss", "loss")


def _check(graph: Graph, kind: str, tensor: str, training: Training, end: Op | None) -> None:
    refuse_int16(graph)
    output = graph[tensor]
    shown = f"{graph.name}: the output {tensor} is {output.dtype}{list(output.shape)}"
    if output.dtype != "int8":
        raise PlanError(f"{shown}; training needs int8 outputs")
    if kind in (SOFTMAX, GROWING) and output.size < 2:
        raise PlanError(
            f"{shown}; {SOFTMAX} needs two or more classes",
            f'for one output: [training] loss = "{SIGMOID}" (or "{SQUARED}")',
        )
    if kind != SQUARED and output.size != output.shape[-1]:
        raise PlanError(f"{shown}; {kind} needs one row of logits")
    if kind == SOFTMAX and end is not None and getattr(end.attributes, "beta", 1.0) != 1.0:
        raise PlanError(
            f"layer {end.name}: the loss needs a softmax with beta 1",
            "export the model without its softmax, or with beta = 1",
        )
    if training.target == "input":
        x = graph[graph.inputs[0]]
        if kind != SQUARED:
            raise PlanError(
                f'{graph.name}: [training] target = "input" is for {SQUARED}, not for {kind}',
                f'add loss = "{SQUARED}", or leave target out',
            )
        if x.size != output.size or x.dtype != "int8":
            raise PlanError(
                f"{shown}, its input {x.dtype}{list(x.shape)}; an autoencoder makes as many int8 "
                "values as it takes",
                'leave out target = "input", and give the values to learn in [data]',
            )
