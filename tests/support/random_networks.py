"""Random small networks, plans and optimizers for property tests of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.support.networks import Network
from tests.support.planted import with_dead_channels
from tinykit.codegen import Compiled, compile_model
from tinykit.errors import PlanError
from tinykit.ir import Array, Graph
from tinykit.training.plan import Optimizer, Plan, Residual, Update, trainable_layers

Draw = st.DrawFn
ACTIVATIONS = st.sampled_from(["none", "relu", "relu", "relu6"])


@dataclass(frozen=True)
class Training:
    """A compiled model that trains, with what it was made of."""

    source: Graph
    compiled: Compiled
    plan: Plan
    samples: Array

    @property
    def graph(self) -> Graph:
        """The calibrated training graph, in order of execution."""
        assert self.compiled.train is not None
        return self.compiled.train.graph

    @property
    def optimizer(self) -> Optimizer:
        return self.plan.optimizer

    @property
    def classes(self) -> int:
        return self.graph[self.graph.outputs[0]].size

    def __repr__(self) -> str:
        kinds = ", ".join(op.kind for op in self.source.ops)
        return f"Training({kinds}; {self.plan})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # hypothesis asks for it
        printer.text(repr(self))


@st.composite
def optimizers(draw: Draw) -> Optimizer:
    adam = draw(st.integers(0, 3)) == 0
    schedule = draw(st.sampled_from(["constant", "linear", "cosine", "step"]))
    return Optimizer(
        method="adam" if adam else "sgd",
        beta_1=draw(st.sampled_from([0.0, 0.9])),
        beta_2=draw(st.sampled_from([0.0, 0.9, 0.999, 0.99999])),
        epsilon=draw(st.sampled_from([0.0, 1e-7, 1.0])),
        clip_norm=draw(st.sampled_from([0.0, 0.0, 1e-6, 0.1, 1e6])),
        learning_rate=draw(st.sampled_from([1e-4, 0.003, 0.02, 0.3, 20.0, 100.0])),
        momentum=0.0 if adam else draw(st.sampled_from([0.0, 0.0, 0.5, 0.9, 0.999])),
        weight_decay=draw(st.sampled_from([0.0, 0.0, 1e-4, 0.1, 1.0])),
        skip_below=draw(st.sampled_from([0.0, 0.0, 0.3])),
        guard_loss=draw(st.sampled_from([0.0, 0.0, 1.0])),
        schedule=schedule,
        step_size=2 if schedule == "step" else 0,
        warmup_steps=draw(st.sampled_from([0, 0, 3])),
        total_steps=draw(st.sampled_from([0, 2, 7])),
        accumulate=1 if adam else draw(st.sampled_from([1, 1, 2, 3])),
        rounding=draw(st.sampled_from(["nearest", "stochastic"])),
        master=draw(st.sampled_from(["int8", "int16", "int32"])),
        seed=draw(st.sampled_from([0, 1, 2**32 - 1])),
    )


@st.composite
def plans(draw: Draw) -> Plan:
    share = st.sampled_from([1.0, 0.6, 0.3, 0.01, 0.0])
    updates = [Update(layers="all", bias=draw(st.booleans()), weights=draw(share))]
    if draw(st.booleans()):
        updates.append(Update(layers="last 2", weights=draw(share), select="first"))
    updates.append(Update(layers="head", bias=True))
    return Plan(optimizer=draw(optimizers()), update=tuple(updates))


def with_adapters(draw: Draw, plan: Plan, graph: Graph) -> Plan:
    """The plan with an adapter beside one or two layers, which it may train as well."""
    updates = list(plan.update)
    for op in draw(st.permutations(trainable_layers(graph)))[: draw(st.integers(1, 2))]:
        weights = graph[op.inputs[1]]
        if op.kind == "fully_connected" or (op.kind == "conv2d" and draw(st.booleans())):
            most = min(weights.shape[0], weights.size // weights.shape[0])
            updates.append(Update(layers=(op.name,), rank=draw(st.integers(1, min(most, 5)))))
        else:
            kernel, pool = draw(st.sampled_from([1, 3, 5])), draw(st.integers(1, 3))
            residual = Residual(pool=pool, kernel=kernel)
            updates.append(Update(layers=(op.name,), residual=residual))
    return plan.model_copy(update={"update": tuple(updates)})


def _window(draw: Draw, net: Network, x: str) -> dict[str, Any]:
    """Geometry of a convolution: kernels larger than the map, strides larger than the kernel."""
    _, height, width, _ = net.tensors[x].shape
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    fits = reach[0] <= height and reach[1] <= width
    padding: Any = draw(st.sampled_from(["same", "valid"] if fits else ["same"]))
    if draw(st.integers(0, 5)) == 0:  # what PAD in front of a convolution becomes
        padding = tuple(r + draw(st.integers(0, 1)) for r in (reach[0], 0, reach[1], 1))
    return {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}


def _pool_window(draw: Draw, net: Network, x: str) -> dict[str, Any]:
    _, height, width, _ = net.tensors[x].shape
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    fits = kernel[0] <= height and kernel[1] <= width
    return {
        "kernel": kernel,
        "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "padding": draw(st.sampled_from(["same", "valid"] if fits else ["same"])),
        "activation": draw(st.sampled_from(["none", "none", "relu"])),
    }


KINDS = ("conv", "depthwise", "planes", "average", "max", "pad", "relu", "fork", "dense", "twice",
         "transpose", "slice", "join", "gather", "product")  # fmt: skip


def _layer(draw: Draw, net: Network, x: str, kind: str) -> str:
    activation = draw(ACTIVATIONS)
    channels = net.tensors[x].shape[3]
    if kind == "conv":
        bias = draw(st.booleans())
        outputs = draw(st.integers(1, 6))
        return net.conv(x, outputs, activation=activation, bias=bias, **_window(draw, net, x))
    if kind == "depthwise" and channels < 10:
        multiplier = draw(st.integers(1, 3))
        return net.conv(x, 0, activation=activation, multiplier=multiplier, **_window(draw, net, x))
    if kind == "planes":  # what the kernels take four channels at a time
        x = net.conv(x, draw(st.integers(4, 11)), (1, 1), activation=activation)
        window = _window(draw, net, x) | {"dilation": (1, 1), "padding": "same"}
        window["kernel"] = (draw(st.integers(1, 7)), draw(st.integers(2, 7)))
        return net.conv(x, 0, activation=draw(ACTIVATIONS), multiplier=1, **window)
    if kind == "average":
        return net.average_pool(x, **_pool_window(draw, net, x))
    if kind == "max":
        return net.max_pool(x, **_pool_window(draw, net, x))
    if kind == "pad":
        amounts = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(3)]
        return net.pad(x, ((0, 0), *amounts))
    if kind == "relu":
        return net.relu(x, draw(st.sampled_from(["relu", "relu6"])))
    if kind == "dense":
        return net.dense(x, draw(st.integers(1, 6)), activation)
    if kind == "transpose":
        return net.transpose(x, (0, *draw(st.permutations((1, 2, 3)))))
    shape = net.tensors[x].shape
    if kind == "slice":
        steps = [draw(st.sampled_from([1, 1, 2, -1])) for _ in shape]
        sizes = [draw(st.integers(1, -(-n // abs(s)))) for n, s in zip(shape, steps, strict=True)]
        begins = [
            n - 1 if s < 0 else draw(st.integers(0, n - 1 - s * (k - 1)))
            for n, s, k in zip(shape, steps, sizes, strict=True)
        ]
        return net.slice(x, begins, steps, sizes)
    if kind == "product":
        adj_x = draw(st.booleans())
        other = net.conv(x, channels, (1, 1), activation="none")
        return net.matmul(*draw(st.permutations([x, other])), adj_x=adj_x, adj_y=not adj_x)
    if kind == "join":
        axis = draw(st.integers(1, 3))
        part = net.slice(x, (0,) * 4, (1,) * 4, (*shape[:axis], 1, *shape[axis + 1 :]))
        return net.concatenate(draw(st.permutations([x, part, part])), axis)
    if kind == "gather":
        axis = draw(st.integers(1, 3))
        places = st.integers(0, shape[axis] - 1)
        return net.gather(x, axis, draw(st.lists(places, min_size=1, max_size=6)))
    if kind == "fork":
        left = net.conv(x, channels, (3, 1), activation="none")
        right = x if draw(st.booleans()) else net.depthwise(x, 1, (1, 3), activation="none")
        return net.add(left, right, draw(st.sampled_from(["none", "relu"])))
    return net.add(x, x)


@st.composite
def networks(draw: Draw) -> Network:
    """A network whose last tensor is the output, with logits of 2 … 5 classes."""
    shape = (1, draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.integers(1, 5)))
    net = Network(
        shape,
        seed=draw(st.integers(0, 2**16)),
        per_channel=draw(st.booleans()),
        input_scale=draw(st.sampled_from([0.003, 0.02, 0.5])),
        input_zero_point=draw(st.sampled_from([-128, 127, 0, -3])),
    )
    x = "x"
    kinds = draw(st.permutations(KINDS))[: draw(st.integers(1, 5))]
    for kind in (draw(st.sampled_from(["conv", "depthwise"])), *kinds):
        if net.tensors[x].size < 600:
            x = _layer(draw, net, x, kind)
    x = net.mean(x) if draw(st.booleans()) else net.flatten(x)
    x = net.dense(x, draw(st.integers(2, 5)), bias=draw(st.booleans()))
    if draw(st.booleans()):
        net.softmax(x)
    return net


@st.composite
def trainings(draw: Draw) -> Training:
    """A training graph; its exponents are often too small, so that values saturate."""
    net = draw(networks())
    plan = draw(plans())
    source = net.graph(net.ops[-1].outputs[0])
    if draw(st.booleans()):
        source = with_dead_channels(source, net.random)
    if draw(st.integers(0, 2)) == 0:
        plan = with_adapters(draw, plan, source)
    samples = net.inputs(6)
    labels = [i % 2 for i in range(2)]
    try:
        compiled = compile_model(source, name="n", plan=plan, samples=samples[:2], labels=labels)
    except PlanError:  # nothing learns where there are no biases, for instance
        plan = plan.model_copy(update={"update": (Update(layers="head", weights=1.0),)})
        compiled = compile_model(source, name="n", plan=plan, samples=samples[:2], labels=labels)
    return Training(source, compiled, plan, samples)
