"""Generated code with elementwise operators equals NumPy: inference, and training steps."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.host.test_host_training import PLAN, block_of
from tests.support.generated_training import train_generated
from tests.support.networks import Network
from tests.support.streamed import programs, run_program
from tests.training.test_elementwise_gradients import NETWORKS
from tinykit.codegen import compile_model, write
from tinykit.ops.evaluate import evaluate
from tinykit.training.reference import ReferenceTrainer

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


@pytest.mark.parametrize("name", ["squeeze_excite", "layer_norm", "attention", "hard_swish"])
def test_three_steps_equal_numpy(name: str, tmp_path: Path) -> None:
    net, output = NETWORKS[name]()
    samples = net.inputs(8)
    made = compile_model(
        net.graph(output), name="model", plan=PLAN, samples=samples[:4], labels=[0, 1, 2, 0]
    )
    manifest = write(made, tmp_path)
    assert made.train is not None
    requests = [(samples[i], i, False) for i in range(3)]
    reference = ReferenceTrainer(made.train.graph, PLAN.optimizer)
    answers = train_generated(tmp_path, requests)
    for (sample, label, _), (answer, block, result) in zip(requests, answers, strict=True):
        step = reference.step(sample, label)
        assert np.float32(answer.loss) == np.float32(step.loss)
        assert block == block_of(made.train.graph, manifest, reference.parameters)
        infer = made.infer.graph
        trained = {n: v for n, v in reference.parameters.items() if n in infer.tensors}
        run = evaluate(infer, {infer.inputs[0]: sample}, parameters=trained)
        np.testing.assert_array_equal(result, run[infer.outputs[0]])


@settings(
    max_examples=6, deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=st.data())
def test_rows_equal_whole_tensors(data: st.DataObject, tmp_path: Path) -> None:
    """A chain cut at random into streaming segments."""
    net = Network((1, 9, 7, 3), seed=46)
    x = net.pointwise("hard_swish", net.conv("x", 6, activation="none"))
    scale = net.constant(np.linspace(0.5, 1.5, 6), "scale")
    y = net.binary("mul", net.conv(x, 6, activation="none"), scale, "relu")
    y = net.binary("sub", net.constant(np.full(1, 0.7), "one"), y)
    graph = net.graph(net.conv(net.binary("squared_difference", y, x), 4))
    program = data.draw(programs(graph))
    assert program is not None
    inputs = net.inputs(2)
    results = run_program(program, inputs, tmp_path)
    for sample, result in zip(inputs, results, strict=True):
        run = evaluate(graph, {"x": sample})
        np.testing.assert_array_equal(result, run[graph.outputs[0]])
