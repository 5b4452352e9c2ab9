"""Samples that are kept: features, learning after the prediction, and replay against forgetting."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.architectures import (
    Architecture,
    depthwise_multipliers,
    one_dimensional,
    residual,
)
from tests.support.networks import Net
from tests.support.random_networks import Training as RandomTraining
from tests.support.random_networks import trainings
from tests.support.replay import replay as replay_plan
from tinykit.codegen import Compiled, compile_model, write
from tinykit.errors import UsageError
from tinykit.host import HostModel
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import evaluate
from tinykit.ops.target import Target
from tinykit.passes.keep import features, insert_keep
from tinykit.schedule import schedule, schedule_both
from tinykit.training.loss import target_form
from tinykit.training.plan import Optimizer, Plan, Replay, Training, Update
from tinykit.training.reference import ReferenceTrainer
from tinykit.training.replay import ReplayTrainer, Reservoir

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def plan(keep: Any, samples: int = 0, per_step: int = 1, **options: Any) -> Plan:
    return Plan(
        optimizer=Optimizer(learning_rate=0.02, **options),
        training=Training(keep=keep),
        replay=Replay(samples=samples, per_step=per_step),
        update=(Update(layers="last 3", bias=True, weights=0.6),),
    )


def compiled(architecture: Architecture, chosen: Plan) -> tuple[Compiled, Array]:
    net, output = architecture()
    samples = net.inputs(40)
    return compile_model(
        net.graph(output), name="model", plan=chosen, samples=samples[:4], labels=[0, 1, 2, 0]
    ), samples
