"""Update plans: which parameters learn, and how.  A plan is a TOML file that a person can write.

    [optimizer]
    learning_rate = 0.01

    [[update]]
    layers = "last 6"      # biases of the last six layers with weights
    bias = true

    [[update]]
    layers = ["conv1d_2"]  # the first quarter of its input channels, largest magnitudes first
    weights = 0.25

    [[update]]
    layers = ["conv2d_7"]  # the layer's weights stay in flash, a low-rank branch beside them learns
    rank = 4

    [[update]]
    layers = ["conv2d_9"]  # a branch around three layers, at half the resolution
    residual = {over = 3, pool = 2, kernel = 3}

    [[update]]
    layers = "head"        # the last layer with weights
    bias = true
    weights = 1.0

Later entries win over earlier ones, key by key.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tinykit.errors import PlanError, UsageError
from tinykit.ir import Graph, Op
from tinykit.ops.int16 import refuse_int16
from tinykit.ops.optimizer_arithmetic import Adam
from tinykit.ops.registry import operator

Loss = Literal["softmax_cross_entropy", "sigmoid_cross_entropy", "mean_squared_error", "triplet"]
Keep = Literal["nothing", "features", "input"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Optimizer(_Section):
    """SGD in the real domain; one learning rate means the same as in float training.

    method: "sgd", or "adam" for those with room: 4 bytes for each weight and bias that learns, and
            a square root and a division for each in every step; one sample an update.
    momentum: of the gradients; costs 2 bytes for each weight and bias that learns.
    weight_decay: each update takes learning rate * weight_decay of every trained weight (not of
            biases), beside the gradient (decoupled).
    beta_1, beta_2, epsilon: of Adam.
    schedule: "constant"; "linear" or "cosine" from learning_rate to 0 over total_steps; "step":
            times step_factor after every step_size steps.
    warmup_steps: the rate grows linearly from 0 during the first steps.
    clip_norm: the gradient of each trained tensor is shortened to this norm, sample by sample; 0:
            never. It is summed twice then: once for the norm.
    skip_below: samples whose largest |probability - target| is below it change nothing; the
            backward pass is left out. They count as steps, and the device reports how many.
    guard_loss: samples with a larger loss (in nats) change nothing either, and count alike;
            0: none.
    accumulate: samples whose mean gradient makes one update of the weights in use.
    master: "int16" keeps a fraction of 8 bits beside each int8 weight, "int32" of 24 bits (in 4
            bytes); "int8" keeps none. Biases have 8 bits, or none with "int8".
    """

    learning_rate: float = Field(0.01, gt=0, le=100)
    method: Literal["sgd", "adam"] = "sgd"
    momentum: float = Field(0.0, ge=0, le=0.999)
    weight_decay: float = Field(0.0, ge=0, le=1)
    schedule: Literal["constant", "linear", "cosine", "step"] = "constant"
    step_size: int = Field(0, ge=0)
    step_factor: float = Field(0.1, gt=0, le=1)
    warmup_steps: int = Field(0, ge=0)
    total_steps: int = Field(0, ge=0)
    beta_1: float = Field(0.9, ge=0, le=0.9999)
    beta_2: float = Field(0.999, ge=0, le=0.99999)
    epsilon: float = Field(1e-7, ge=0, le=1)
    clip_norm: float = Field(0.0, ge=0, le=1e6)
    skip_below: float = Field(0.0, ge=0, lt=1)
    guard_loss: float = Field(0.0, ge=0)
    accumulate: int = Field(1, ge=1, le=64)
    rounding: Literal["stochastic", "nearest"] = "stochastic"
    master: Literal["int32", "int16", "int8"] = "int16"
    seed: int = Field(1, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        if (self.schedule == "step") != (self.step_size > 0):
            raise ValueError('schedule "step" needs step_size, and the others have none')
        if self.method == "adam" and self.momentum > 0:
            raise ValueError('momentum is for method "sgd"; adam has beta_1')
        if self.method == "adam" and self.accumulate > 1:
            raise ValueError(
                "adam takes one sample an update (accumulating would need a buffer of gradients): "
                "accumulate = 1, perhaps with a larger beta_1"
            )
        return self

    @property
    def adam(self) -> Adam | None:
        """Adam's constants where it is the method."""
        if self.method != "adam":
            return None
        return Adam(self.beta_1, self.beta_2, self.epsilon)


class Training(_Section):
    """What the step compares, and with what.

    loss: by default what the network ends in says it: SOFTMAX "softmax_cross_entropy", LOGISTIC
          "sigmoid_cross_entropy" (classes that may hold together, or a single yes or no), anything
          else is logits for "softmax_cross_entropy". "mean_squared_error" must be named; so must
          the loss of a network whose output has its input's shape. The latter two are means over
          all outputs. "triplet" is for embeddings: each class keeps the centre of its samples, and
          the network learns to put a sample nearer to its own centre than to any other. Inference
          then gives probabilities of classes, by their centres; a class is in use from its first
          sample on.
    target: "given" with each sample, a class or a value for each output; "input": the sample
          itself, for an autoencoder that learns by "mean_squared_error".
    keep: what the engine keeps of the last sample, in SRAM, so that it can be learnt after its
          prediction without coming again: "features", all that the part behind the frozen layers
          reads (those layers are not run again then), or "input". "nothing", unless there is a
          [replay]: then "features".
    gradients: the type of gradient tensors. "int8" halves their SRAM and keeps 6 bits of the
          largest gradients; "float32" is for comparison. Both are in plain loops, slower than
          "int16", and for convolutions, fully connected layers, ADD, averages and activations.
    logits: what a cross-entropy sees of the last layer. "int16": 16 times finer than its int8
          outputs, and 16 times their range; "int8": those outputs themselves, for comparison, and
          where logits are not one row of a fully connected layer or of a 1x1 convolution.
    classes, margin: of "triplet". How many classes there may be; and by how much the squared
          distance to other centres shall be larger, in real units of the embedding.
    """

    loss: Loss | None = None
    target: Literal["given", "input"] = "given"
    keep: Keep | None = None
    gradients: Literal["int16", "int8", "float32"] = "int16"
    logits: Literal["int16", "int8"] = "int16"
    classes: int = Field(0, ge=0, le=4096)
    margin: float = Field(1.0, ge=1e-6, le=1e9)

    @model_validator(mode="after")
    def _embeds(self) -> Training:
        if self.loss == "triplet" and self.classes < 2:
            raise ValueError('loss "triplet" needs classes, two or more')
        if self.loss != "triplet" and (self.classes or self.margin != 1.0):
            raise ValueError('classes and margin are for loss "triplet"')
        return self


class Replay(_Section):
    """Past samples against forgetting: as many of each class as there are, in SRAM with their
    targets (see docs/training.md).

    samples: how many there is room for; 0: none.
    per_step: of them chosen at random and trained on after each new one, each in a step of its own.
    """

    samples: int = Field(0, ge=0, le=65535)
    per_step: int = Field(1, ge=1, le=64)


class Guard(_Section):
    """Back to earlier parameters when learning diverges: by a rate that is too high, or by wrong
    labels. Without this section there is no guard.

    window: steps whose mean loss is judged. One below the limits proves the parameters that it
            began with: they become the snapshot that a later one goes back to.
    limit: a window diverges whose mean loss is above it; 0: at any loss. By default twice the loss
            of guessing for cross-entropies, 2 ln(classes) or 2 ln 2, and none for other losses.
    factor: or above this times that of the best window so far; 0: however much above.
    floor: the best window counts as having at least this loss, or else a model that is certain
            of everything could not make a single error. By default a quarter of the loss of
            guessing, and 0 for losses other than cross-entropies.
    rate_factor: the learning rate is multiplied by it each time; 1: it stays.
    snapshots: how many copies of what learns, without fractions and momentum, are in SRAM. With 1
            it goes back to the end of the last good window, which no loss has been seen of.
    """

    window: int = Field(32, ge=1, le=4096)
    limit: float | None = Field(None, ge=0, le=32768)
    factor: float = Field(3.0, ge=0, le=16)
    floor: float | None = Field(None, ge=0, le=32768)
    rate_factor: float = Field(0.5, gt=0, le=1)
    snapshots: Literal[1, 2] = 2

    @model_validator(mode="after")
    def _watches(self) -> Self:
        if 0 < self.factor < 1:
            raise ValueError("factor is 1 or more, or 0 for none")
        if self.factor == 0 and self.limit == 0:
            raise ValueError("a guard without limit and factor watches nothing: give one of them")
        return self


class Residual(_Section):
    """A lite residual module (TinyTL): a branch that is added to a layer's output.

    over: how many layers with weights, one behind the other, it goes around; the named one is the
          last.
    pool: its resolution is that of the layer's output divided by this.
    kernel: of its depthwise layer, in front of its 1x1 weights; 1: it has none.
    """

    over: int = Field(1, ge=1)
    pool: int = Field(2, ge=1, le=64)
    kernel: Literal[1, 3, 5, 7] = 3


class Update(_Section):
    """What learns in some layers.

    layers: "head", "all", "last N", or a list of layer names (or their numbers among the layers
            with weights, from 0).
    bias, weights: weights is the fraction of a layer's input channels (of its channels, for a
            depthwise layer); None leaves the setting of earlier entries.
    select: which channels: those of largest magnitude, the first ones, or random ones.
    seed: of the random ones. `tinykit plan --resample SEED` writes the plan with another.
    channels: their numbers, instead of weights and select. They must come from one layer that can
            make its outputs in another order: not from the model's input, nor from an ADD whose
            readers choose differently.
    rank: a low-rank adapter of so many channels beside a convolution or fully connected layer: B in
            y = W x + B (A x) begins as zeros, and A and B learn; bias and weights are the layer's
            own, as ever. 0: no adapter, nor a residual module.
    residual: a lite residual module beside a convolution (keys: below), which begins as zeros too.
    """

    layers: str | tuple[str | int, ...]
    bias: bool | None = None
    weights: float | None = Field(None, ge=0, le=1)
    select: Literal["magnitude", "first", "random"] = "magnitude"
    seed: int = Field(0, ge=0, lt=2**32)
    channels: tuple[int, ...] | None = Field(None, min_length=1)
    rank: int | None = Field(None, ge=0, le=1024)
    residual: Residual | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Update:
        if self.channels is not None:
            if self.weights is not None:
                raise ValueError("give either weights or channels")
            if min(self.channels) < 0 or len(set(self.channels)) < len(self.channels):
                raise ValueError("channels are different numbers from 0")
        if self.rank is not None and self.residual is not None:
            raise ValueError("give either rank or residual")
        return self


@dataclass(frozen=True)
class LayerUpdate:
    """The settled choice for one layer; channels counts the trained ones, chosen numbers them.

    rank, residual: of the adapter beside it, 0 and None without.  seed: of select "random".
    """

    bias: bool
    channels: int
    select: str
    chosen: tuple[int, ...] = ()
    rank: int = 0
    residual: Residual | None = None
    seed: int = 0

    @property
    def trains(self) -> bool:
        """Whether parameters of its own learn."""
        return self.bias or self.channels > 0

    @property
    def adapted(self) -> bool:
        """Whether something learns beside it."""
        return self.rank > 0 or self.residual is not None


class Plan(_Section):
    """A whole update plan."""

    name: str = "plan"
    optimizer: Optimizer = Optimizer()
    training: Training = Training()
    replay: Replay = Replay()
    guard: Guard | None = None
    update: tuple[Update, ...]

    @model_validator(mode="after")
    def _something_to_replay(self) -> Self:
        if self.replay.samples and self.training.keep == "nothing":
            raise ValueError('[replay] needs [training] keep = "features" or "input"')
        return self

    @property
    def keep(self) -> Keep:
        """What the engine keeps of a sample."""
        return self.training.keep or ("features" if self.replay.samples else "nothing")

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a TOML file; UsageError naming file and key when it is not a plan."""
        try:
            data = tomllib.loads(path.read_text())
        except OSError as error:
            raise UsageError(f"cannot read plan {path}: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{path}: {error}") from error
        data.setdefault("name", path.stem)
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: object, where: str) -> Plan:
        """Validate parsed TOML; UsageError naming `where` and the key."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise UsageError(f"{where}: {_first_error(error)}") from error

    def resolve(self, graph: Graph) -> dict[str, LayerUpdate]:
        """The choice for every layer with weights, by name; PlanError when none learns."""
        layers = trainable_layers(graph)
        settled: dict[str, LayerUpdate] = {}
        nothing: tuple[bool, float, str, tuple[int, ...]] = (False, 0.0, "", ())
        seeds: dict[str, int] = {}
        chosen = dict.fromkeys((op.name for op in layers), nothing)
        adapters: dict[str, tuple[int, Residual | None]] = {}
        for entry in self.update:
            for op in _selected(entry.layers, layers):
                bias, weights, select, numbers = chosen[op.name]
                if entry.bias is not None:
                    bias = entry.bias
                if entry.weights is not None:
                    weights, select, numbers = entry.weights, entry.select, ()
                    seeds[op.name] = entry.seed
                if entry.channels is not None:
                    weights, select, numbers = 0.0, "chosen", tuple(sorted(entry.channels))
                if entry.rank is not None or entry.residual is not None:
                    adapters[op.name] = (entry.rank or 0, entry.residual)
                chosen[op.name] = (bias, weights, select, numbers)
        for op in layers:
            bias, weights, select, numbers = chosen[op.name]
            has_bias = len(op.inputs) > 2 and bool(op.inputs[2])
            count = graph[op.inputs[1]].shape[-1]
            channels = min(count, max(1, round(weights * count))) if weights > 0 else 0
            if numbers and numbers[-1] >= count:
                raise PlanError(
                    f"plan {self.name}: layer {op.name} has no channel {numbers[-1]}",
                    f"its channels are 0 … {count - 1}",
                )
            channels = len(numbers) or channels
            adapter = adapters.get(op.name, (0, None))
            settled[op.name] = LayerUpdate(
                bias and has_bias, channels, select, numbers, *adapter, seeds.get(op.name, 0)
            )
        if not learning(settled):
            raise PlanError(f"plan {self.name}: nothing learns", 'add [[update]] layers = "head"')
        return settled

    def resampled(self, seed: int) -> Plan:
        """The plan with as many channels of each partly trained layer, but random ones.

        Raises PlanError where no entry trains a part of a layer by its fraction.
        """
        numbered = next((entry for entry in self.update if entry.channels is not None), None)
        if numbered is not None:
            raise PlanError(
                f"plan {self.name}: its channels {list(numbered.channels or ())} are numbered",
                "only fractions (weights = 0.25) can be resampled",
            )
        parts = [entry.weights is not None and 0 < entry.weights < 1 for entry in self.update]
        if not any(parts):
            raise PlanError(
                f"plan {self.name}: trains no part of a layer's weights",
                "whole layers have no other channels; resampling is for weights = 0.25, say",
            )
        chosen = {"select": "random", "seed": seed}
        entries = (
            entry.model_copy(update=chosen) if part else entry
            for entry, part in zip(self.update, parts, strict=True)
        )
        return self.model_copy(update={"update": tuple(entries)})


def trainable_layers(graph: Graph) -> list[Op]:
    """Layers with weights of their own, in execution order.

    Raises PlanError for a model with int16 activations: it infers only.
    """
    refuse_int16(graph)
    return [op for op in graph.ops if operator(op.kind).trainable and graph[op.inputs[1]].constant]


def learning(choices: Mapping[str, LayerUpdate]) -> frozenset[str]:
    """The names of the layers that learn, or beside which something does."""
    return frozenset(name for name, choice in choices.items() if choice.trains or choice.adapted)


def _selected(layers: str | tuple[str | int, ...], all_layers: list[Op]) -> list[Op]:
    if isinstance(layers, str):
        words = layers.split()
        if layers == "all":
            return all_layers
        if layers == "head":
            return all_layers[-1:]
        if len(words) == 2 and words[0] == "last" and words[1].isdigit():
            return all_layers[-int(words[1]) :] if int(words[1]) else []
        layers = (layers,)
    by_name = {op.name: op for op in all_layers}
    found = []
    for key in layers:
        if isinstance(key, int) and 0 <= key < len(all_layers):
            found.append(all_layers[key])
        elif key in by_name:
            found.append(by_name[str(key)])
        else:
            near = get_close_matches(str(key), by_name, 1)
            hint = f"did you mean {near[0]}?" if near else f"layers: {', '.join(by_name)}"
            raise PlanError(f"the model has no layer {key} with weights", hint)
    return found


def tte_plan(path: Path, network: str, scheme: str) -> Plan:
    """A published scheme of Tiny Training Engine (its JSON of update schemes) as a plan.

    Convolutions count from 0 without the head; the head always learns.
    """
    try:
        published = json.loads(path.read_text())[network][scheme]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{path}: no scheme {scheme} for {network}") from error
    updates = [
        Update(layers=f"last {published['n_bias_update'] + 1}", bias=True),
        *(
            Update(layers=(index,), weights=ratio)
            for index, ratio in zip(
                published["manual_weight_idx"], published["weight_update_ratio"], strict=True
            )
        ),
        Update(layers="head", bias=True, weights=1.0),
    ]
    return Plan(name=f"{network}-{scheme}", update=tuple(updates))


def head_only(learning_rate: float = 0.01) -> Plan:
    """Only the last layer learns."""
    return Plan(
        name="head-only",
        optimizer=Optimizer(learning_rate=learning_rate),
        update=(Update(layers="head", bias=True, weights=1.0),),
    )


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        sections = (Plan, Optimizer, Training, Replay, Guard, Update, Residual)
        known = {key for section in sections for key in section.model_fields}
        near = get_close_matches(key, known, 1)
        return f"unknown key {where}" + (f"; did you mean {near[0]}?" if near else "")
    return f"{where}: {first['msg']}"
