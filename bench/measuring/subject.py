"""What is trained: a model with a fresh head, and an update plan for it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.measuring.models import shared_models
from tinykit.errors import ModelError, UsageError
from tinykit.ir import Graph
from tinykit.training.plan import Plan, trainable_layers, tte_plan

MODEL, PLAN, BOARD = "mcunet-5fps-10c.tflite", "tte:49kb", "mps2_an500"
SCHEMES = "tte_schemes.json"
BACKBONES = ("mbv2-w0.35-10c.tflite", "proxyless-w0.3-10c.tflite", MODEL)
SEED = 0


def model_path(given: Path | None) -> Path:
    """The model to measure. Raises UsageError where there is none."""
    path = given or shared_models() / MODEL
    if not path.is_file():
        raise UsageError(f"{path}: no such model")
    return path


def plan_of(given: str, model: Path) -> Plan:
    """A plan's file, or `tte:NAME`: a published scheme out of tte_schemes.json beside the model,
    for the network there whose name the model's file name begins with. Raises UsageError."""
    if not given.startswith("tte:"):
        return Plan.load(Path(given))
    path = model.with_name(SCHEMES)
    return tte_plan(path, network_of(model), given.removeprefix("tte:"))


def schemes(model: Path) -> list[str]:
    """The names of the schemes that are published for a model."""
    return list(_published(model.with_name(SCHEMES))[network_of(model)])


def network_of(model: Path) -> str:
    """The model's name in tte_schemes.json. Raises UsageError for a model that is not there."""
    path = model.with_name(SCHEMES)
    networks = _published(path)
    for name in networks:
        if model.name.startswith(name):
            return name
    raise UsageError(
        f"{path} has no schemes for {model.name}, only for {', '.join(networks)}",
        "give a plan's file: --plan FILE",
    )


def _published(path: Path) -> dict[str, dict[str, object]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: the published schemes cannot be read", "give a plan's file: --plan FILE"
        ) from error
    return dict(found)


def fresh_head(graph: Graph) -> Graph:
    """The graph with its last layer forgotten: weights uniform within ± 1 / √(inputs of an output),
    as PyTorch begins a linear layer, rounded to the scales that the layer has; biases 0. Seeded."""
    layers = trainable_layers(graph)
    if not layers:
        raise ModelError(f"{graph.name}: has no layer with weights, so nothing can learn")
    head = layers[-1]
    weights = graph[head.inputs[1]]
    scales = np.array(weights.quant.scale)
    if weights.quant.per_channel:
        shape = [1] * len(weights.shape)
        shape[weights.quant.axis or 0] = len(scales)
        scales = scales.reshape(shape)
    bound = 1 / math.sqrt(math.prod(weights.shape[1:]))
    real = np.random.default_rng(SEED).uniform(-bound, bound, weights.shape)
    codes = np.clip(np.rint(real / scales), -127, 127).astype(np.int8)
    changed = [replace(weights, data=codes)]
    if len(head.inputs) > 2 and head.inputs[2]:
        bias = graph[head.inputs[2]]
        changed.append(replace(bias, data=np.zeros_like(bias.value)))
    return graph.with_tensors(changed)
