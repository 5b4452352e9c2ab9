"""Memory plans of random networks and of the reference models, replayed byte by byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.architectures import residual
from tests.support.random_networks import Training, trainings
from tests.support.replay import replay
from tinykit.codegen import Compiled, compile_model
from tinykit.importers import load_model
from tinykit.ops.update import is_state
from tinykit.schedule import schedule
from tinykit.training.plan import Plan, Update, tte_plan

SETTINGS = settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
MODELS = (
    "mlperf_tiny/kws_ref_model.tflite",
    "mlperf_tiny/pretrainedResnet_quant.tflite",
    "mlperf_tiny/vww_96_int8.tflite",
    "mlperf_tiny/ad01_int8.tflite",
    "mcunet-5fps-10c.tflite",
    "mbv2-w0.35-10c.tflite",
)


@SETTINGS
@given(training=trainings(), keep_input=st.booleans())
def test_plans_of_random_networks(training: Training, keep_input: bool) -> None:
    replay(training.compiled.infer)
    assert training.compiled.train is not None
    replay(training.compiled.train)
    for graph in (training.graph, training.compiled.infer.graph):
        replay(schedule(graph, keep_input=keep_input), keep_input)


@SETTINGS
@given(training=trainings())
def test_parameters_do_not_overlap(training: Training) -> None:
    """Each on whole words; the image in flash holds the initial biases and weights."""
    block = training.compiled.block
    busy = np.zeros(block.size, np.int64)
    parameters = [t for t in training.graph.tensors.values() if t.storage == "parameters"]
    assert {t.name for t in block.tensors} == {t.name for t in parameters}
    for tensor in parameters:
        start = block.offsets[tensor.name]
        assert start % 4 == 0
        assert start + tensor.bytes <= block.size
        busy[start : start + tensor.bytes] += 1
        if is_state(tensor.name):
            assert start >= len(block.initial)
            assert not tensor.value.any()
        else:
            image = block.initial[start : start + tensor.bytes]
            assert image == tensor.stored(tensor.value).tobytes()
    assert busy.max() == 1
    assert block.size - busy.sum() <= 3 * len(parameters)


def compiled(model: str, shared: Path) -> Compiled:
    graph = load_model(shared / "models" / model)
    if "ad01" in model:
        return compile_model(graph, name="model")  # no classes
    plan = Plan(
        update=(Update(layers="last 8", bias=True, weights=0.5), Update(layers="head", weights=1.0))
    )
    if model.startswith("mcunet"):
        plan = tte_plan(shared / "models" / "tte_schemes.json", "mcunet", "49kb")
    return compile_model(graph, name="model", plan=plan)


@pytest.mark.parametrize("model", MODELS)
def test_plans_of_the_reference_models(model: str, shared: Path) -> None:
    made = compiled(model, shared)
    for program in (made.infer, made.train):
        if program is not None:
            replay(program)


def test_the_first_op_may_not_destroy_what_a_later_one_reads() -> None:
    """The replay itself notices a plan that is wrong."""
    net, output = residual()
    program = schedule(net.graph(output))
    last = program.graph.of_kind("add")[1]
    offsets = {**program.offsets, last.inputs[0]: program.offsets[last.inputs[1]]}
    with pytest.raises(AssertionError, match=r"on its input|destroyed"):
        replay(replace(program, offsets=offsets))
