"""Streamed segments: random cuts of random networks give what layer by layer gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.networks import Network
from tests.support.random_networks import networks
from tests.support.replay import replay
from tests.support.streamed import programs, run_program
from tinykit.ops.evaluate import evaluate
from tinykit.ops.registry import check_shapes
from tinykit.passes import simplify

PLANS = settings(
    deadline=None,
    derandomize=True,
    max_examples=80,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
RUNS = settings(PLANS, max_examples=25)


def graph_of(net: Network) -> object:
    return check_shapes(simplify(net.graph(net.ops[-1].outputs[0])))


@PLANS
@given(data=st.data(), net=networks(), input_rows=st.booleans())
def test_plans_hold_byte_by_byte(data: st.DataObject, net: Network, input_rows: bool) -> None:
    program = data.draw(programs(graph_of(net), input_rows))  # type: ignore[arg-type]
    if program is not None:
        replay(program)


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
@pytest.mark.parametrize("input_rows", [False, True])
def test_generated_c_equals_numpy(input_rows: bool, tmp_path: Path) -> None:
    """Under sanitizers, from an arena full of noise."""
    ran = 0

    @RUNS
    @given(data=st.data(), net=networks())
    def run(data: st.DataObject, net: Network) -> None:
        nonlocal ran
        program = data.draw(programs(graph_of(net), input_rows))  # type: ignore[arg-type]
        if program is None:
            return
        ran += 1
        folder = tmp_path / str(ran)
        inputs = net.inputs(3)
        outputs = run_program(program, inputs, folder)
        graph = program.graph
        for x, y in zip(inputs, outputs, strict=True):
            expected = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
            np.testing.assert_array_equal(y, expected)

    run()
    assert ran > 10
