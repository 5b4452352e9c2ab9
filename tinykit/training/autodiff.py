"""Autodiff at compile time: a forward graph with parameters becomes a training graph.

Reverse mode over the ops; each operator's gradient rule emits ordinary ops on the tape.  Only
what lies between the loss and the first trained parameter is differentiated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from tinykit.errors import PlanError
from tinykit.ir import Attributes, Graph, Op, Quantization, Tensor
from tinykit.ir.tensor import DType
from tinykit.ops.activation_mask import Limits
from tinykit.ops.gradient_arithmetic import gradient_scale
from tinykit.ops.registry import operator
from tinykit.ops.softmax_cross_entropy import GRADIENT_EXPONENT
from tinykit.ops.update import UpdateAttributes, UpdateRule
from tinykit.passes.dead import remove_dead_ops
from tinykit.training.fine_logits import with_fine_logits
from tinykit.training.gradient_types import typed
from tinykit.training.loss import CROSS_ENTROPIES, before_reshapes, loss_of, loss_op
from tinykit.training.plan import Optimizer, Training

UNCALIBRATED = Quantization.per_tensor(1.0)


@dataclass
class GraphTape:
    """Implements tinykit.ops.tape.Tape."""

    graph: Graph
    optimizer: Optimizer
    logits: str  # the layer's own output, seen through reshapes
    tensors: dict[str, Tensor] = field(default_factory=dict)
    masks: list[Op] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    gradients: dict[str, str] = field(default_factory=dict)
    learning: set[str] = field(default_factory=set)  # tensors downstream of a parameter
    kept: set[str] = field(default_factory=set)  # forward tensors that update ops read
    trained: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for op in self.graph.ops:
            parameters = any(self.graph[n].storage == "parameters" for n in op.reads)
            if parameters or any(n in self.learning for n in op.reads):
                self.learning.update(op.outputs)

    def wants(self, tensor: str) -> bool:
        return tensor in self.learning

    def trains(self, tensor: str) -> bool:
        return self.graph[tensor].storage == "parameters"

    def gradient_of(self, tensor: str) -> str:
        return self.gradients[tensor]

    def contribute(self, tensor: str, gradient: str) -> None:
        if not self.wants(tensor):
            return
        earlier = self.gradients.get(tensor)
        if earlier is not None:
            producer = self.graph.producer(tensor)
            name = tensor if producer is None else producer.name
            maker = Op("", name, (), (), layer=name)
            gradient = self.emit(
                "gradient_add", maker, (earlier, gradient), self.graph[tensor].shape
            )
        self.gradients[tensor] = gradient

    def emit(
        self,
        kind: str,
        op: Op,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        attributes: Attributes | None = None,
    ) -> str:
        name = self._fresh(f"{op.name}/{kind}")
        self.tensors[name] = Tensor(name, shape, "int16", UNCALIBRATED)
        self.ops.append(
            Op(kind, name, inputs, (name,), attributes or Attributes(), (), "backward", op.layer)
        )
        return name

    def update(
        self,
        kind: str,
        op: Op,
        inputs: tuple[str, ...],
        parameter: str,
        attributes: UpdateAttributes,
    ) -> None:
        number = len(self.trained)
        self.trained.append(parameter)
        optimizer = self.optimizer
        rule = UpdateRule(
            tensor=number,
            seed=optimizer.seed,
            rounding=optimizer.rounding,
            accumulate=optimizer.accumulate,
            momentum=optimizer.momentum,
            weight_decay=optimizer.weight_decay,
            clip_norm=optimizer.clip_norm,
            adam=optimizer.adam,
            wide=optimizer.master == "int32" and self.graph[parameter].dtype == "int8",
        )
        states = [self._state(parameter, state, "int16") for state in rule.states]
        updates = (parameter, *self._residual(parameter), *states)
        self.kept.update(name for name in inputs if name in self.graph.tensors)
        self.ops.append(
            Op(
                kind,
                self._fresh(f"{op.name}/{kind}"),
                (*inputs, *updates),
                (),
                replace(attributes, rule=rule),
                updates,
                "update",
                op.layer,
            )
        )

    def mask(self, op: Op, tensor: str, limits: Limits) -> str:
        if tensor in self.kept:
            return tensor
        name = f"{op.name}/activation_mask"
        if name not in self.tensors:
            size = -(-self.graph[tensor].size // 8)
            self.tensors[name] = Tensor(name, (size,), "uint8")
            self.masks.append(
                Op("activation_mask", name, (tensor,), (name,), limits, (), "forward", op.layer)
            )
        return name

    def _residual(self, parameter: str) -> tuple[str, ...]:
        tensor, optimizer = self.graph[parameter], self.optimizer
        weights = tensor.dtype == "int8"
        dtype: DType = "int8"
        if weights and optimizer.master == "int32":
            dtype = "int32"
        elif optimizer.accumulate > 1:
            dtype = "int16" if weights else "int32"
        elif optimizer.master == "int8":
            return ()
        return (self._state(parameter, "residual", dtype),)

    def _state(self, parameter: str, state: str, dtype: DType) -> str:
        """A tensor that lies beside a trained one, element by element."""
        tensor, name = self.graph[parameter], f"{parameter}/{state}"
        self.tensors[name] = Tensor(
            name, tensor.shape, dtype, storage="parameters", order=tensor.order
        )
        return name

    def _fresh(self, base: str) -> str:
        taken = self.tensors.keys() | {op.name for op in self.ops}
        name, count = base, 2
        while name in taken:
            name, count = f"{base}_{count}", count + 1
        return name


def differentiate(graph: Graph, optimizer: Optimizer, training: Training | None = None) -> Graph:
    """The training graph: forward up to the loss's input, masks, loss, backward and update.

    Its output is the loss's input, as a rule the logits.  Gradient tensors other than the loss's
    have scale 1 until tinykit.training.calibrate sets their exponents.
    """
    training = training or Training()
    kind, logits = loss_of(graph, training)
    end = next((i + 1 for i, op in enumerate(graph.ops) if logits in op.outputs), 0)
    forward = replace(graph, ops=graph.ops[:end], outputs=(logits,))
    tape = GraphTape(forward, optimizer, before_reshapes(forward, logits))
    if not tape.wants(logits):
        raise PlanError(f"{graph.name}: no trained layer reaches the output")

    seen, read = forward, logits
    if training.logits == "int16" and kind in CROSS_ENTROPIES:
        seen, read = with_fine_logits(forward, logits)
    loss = "loss/gradient"
    scale = gradient_scale(GRADIENT_EXPONENT)
    tape.tensors[loss] = Tensor(loss, graph[logits].shape, "int16", scale)
    last = loss_op(graph, kind, read, (loss,), optimizer, training)
    tape.contribute(logits, loss)
    for op in reversed(forward.ops):
        if any(name in tape.gradients for name in op.outputs):
            operator(op.kind).gradient(replace(op, layer=op.layer or op.name), tape)

    ops: list[Op] = []
    for op in (*seen.ops, *_assignments(graph, end)):
        ops.append(op)
        ops.extend(mask for mask in tape.masks if mask.inputs[0] in op.outputs)
    ops += [last, *tape.ops]
    for name in tape.trained:
        if not any(name in op.updates for op in ops):
            raise PlanError(f"{graph.name}: parameter {name} is never updated")
    states = {
        t.name: t.with_data(np.zeros(t.shape, np.dtype(t.dtype)))
        if t.storage == "parameters"
        else t
        for t in tape.tensors.values()
    }
    tensors = {**seen.tensors, **states}
    whole = replace(seen, tensors=tensors, ops=tuple(ops), outputs=(read,))
    made = (remove_dead_ops(whole) if read != logits else whole).pruned().check()
    return made if training.gradients == "int16" else typed(made, training.gradients)


def _assignments(graph: Graph, end: int) -> list[Op]:
    """The ops behind number `end` that the model's variables need."""
    needed: set[str] = set()
    kept = []
    for op in reversed(graph.ops[end:]):
        if op.updates or needed.intersection(op.outputs):
            needed.update(op.reads)
            kept.append(op)
    return kept[::-1]
