"""The guard against divergence: it goes back to parameters that the loss has proven."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.host.test_host_training import block_of
from tests.support.architectures import Architecture, one_dimensional, residual
from tests.support.generated_training import train_generated
from tests.support.kernels import RUNTIME
from tests.support.networks import Network
from tinykit.codegen import Compiled, Manifest, compile_model, write
from tinykit.codegen.generate import emit
from tinykit.codegen.inventory import manifest
from tinykit.errors import PlanError, UsageError
from tinykit.host import HostModel
from tinykit.ir import Array
from tinykit.ops.target import TargetForm
from tinykit.report.generated import plan_report
from tinykit.training.guard import GuardedTrainer, Limits
from tinykit.training.ladder import plan_text
from tinykit.training.plan import Guard, Optimizer, Plan, Replay, Training, Update
from tinykit.training.replay import ReplayTrainer

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def plan(guard: Guard | None, **options: Any) -> Plan:
    return Plan(
        optimizer=Optimizer(**{"learning_rate": 0.02, **options}),
        guard=guard,
        update=(Update(layers="last 3", bias=True, weights=0.6),),
    )


def compiled(architecture: Architecture, chosen: Plan) -> tuple[Compiled, Array]:
    net, output = architecture()
    samples = net.inputs(40)
    return compile_model(
        net.graph(output), name="model", plan=chosen, samples=samples[:4], labels=[0, 1, 2, 0]
    ), samples


def both(made: Compiled, folder: Path) -> tuple[HostModel, GuardedTrainer]:
    """The generated C under sanitizers, and NumPy."""
    write(made, folder)
    assert made.train is not None
    assert made.plan is not None
    assert made.plan.guard is not None
    trainer = GuardedTrainer(made.train.graph, made.plan.optimizer, guard=made.plan.guard)
    return HostModel(folder), trainer


@needs_gcc
@pytest.mark.parametrize(
    ("architecture", "guard", "options"),
    [
        (residual, Guard(window=5, limit=4.0, snapshots=2), {"learning_rate": 0.3}),
        (residual, Guard(window=4, factor=1.0, floor=0.0, rate_factor=0.9), {"momentum": 0.9}),
        (
            one_dimensional,
            Guard(window=6, factor=1.25, snapshots=1),
            {"accumulate": 4, "master": "int32", "momentum": 0.5, "learning_rate": 0.3},
        ),
        (one_dimensional, Guard(window=3, factor=1.1), {"method": "adam", "master": "int8"}),
    ],
    ids=["limit", "momentum", "accumulated", "adam"],
)
def test_the_guard_equals_numpy(
    architecture: Architecture, guard: Guard, options: dict[str, Any], tmp_path: Path
) -> None:
    """Labels by chance: every loss, and every bit of what learns, with snapshots in between."""
    made, samples = compiled(architecture, plan(guard, **options))
    host, trainer = both(made, tmp_path)
    random = np.random.default_rng(3)
    for i in range(150):
        sample, label = samples[random.integers(len(samples))], int(random.integers(3))
        step, answer = trainer.step(sample, label), host.train(sample, label)
        assert np.float32(answer.loss) == np.float32(step.loss)
        assert (answer.step, answer.updated) == (trainer.steps, step.updated)
        assert answer.rollbacks == trainer.rollbacks == host.rollbacks, i
        if i == 100:  # by hand
            host.rollback()
            trainer.back()
        assert made.train is not None
        assert host.parameters() == block_of(made.train.graph, host.manifest, trainer.parameters), i
    assert 3 < trainer.rollbacks < 100
    assert trainer.best is not None
    state = struct.pack("<QQI", trainer.sum, trainer.best, trainer.window)
    assert host.guard[: len(state)] == state


@needs_gcc
def test_with_replay_it_equals_numpy(tmp_path: Path) -> None:
    """Old samples are steps like others, for the guard too."""
    chosen = plan(Guard(window=5, factor=1.1)).model_copy(
        update={"replay": Replay(samples=5, per_step=2), "training": Training(keep="features")}
    )
    made, samples = compiled(residual, chosen)
    host, guarded = both(made, tmp_path)
    trainer = ReplayTrainer(guarded, chosen.replay)
    for i in range(60):
        step, answer = trainer.step(samples[i % 40], i % 3), host.train(samples[i % 40], i % 3)
        assert np.float32(answer.loss) == np.float32(step.loss)
        assert (answer.rollbacks, answer.updated) == (guarded.rollbacks, step.updated)
    assert guarded.rollbacks > 2
    assert made.train is not None
    assert host.parameters() == block_of(made.train.graph, host.manifest, guarded.parameters)


@needs_gcc
def test_what_is_saved_goes_on_with_the_same_rate(tmp_path: Path) -> None:
    """The count of rollbacks is saved; the block continues bit for bit; without it a window begins
    with the parameters loaded as its snapshot."""
    made, samples = compiled(residual, plan(Guard(window=5, limit=1.5), learning_rate=0.3))
    host, _ = both(made, tmp_path)
    for i in range(23):
        host.train(samples[i], i % 3)
    assert host.rollbacks > 0
    saved, kept = host.save(), host.guard
    straight, bare = [HostModel(tmp_path) for _ in range(2)]
    for other in (straight, bare):
        other.load(saved)
        assert other.rollbacks == host.rollbacks
        assert other.save() == saved
    straight.guard = kept
    for i in range(23, 40):
        assert host.train(samples[i], i % 3) == straight.train(samples[i], i % 3)
    assert host.save() == straight.save()
    assert host.guard == straight.guard
    loaded = bare.parameters()
    bare.train(samples[0], 0)
    bare.rollback()
    kept_bytes = bare.manifest.guard.bytes if bare.manifest.guard else 0
    assert bare.parameters()[:kept_bytes] == loaded[:kept_bytes]
    bare.reset()
    assert bare.rollbacks == 0


@needs_gcc
def test_it_is_clean_under_sanitizers(tmp_path: Path) -> None:
    """Two snapshots that fill their block to its last byte."""
    made, samples = compiled(one_dimensional, plan(Guard(window=3, factor=1.0, floor=0.0)))
    write(made, tmp_path)
    assert made.train is not None
    trainer = GuardedTrainer(
        made.train.graph, plan(None).optimizer, guard=Guard(window=3, factor=1.0, floor=0.0)
    )
    requests = [(samples[i], i % 3 if i < 6 else 2, i % 5 == 4) for i in range(24)]
    for (sample, label, apply), (answer, block, _) in zip(
        requests, train_generated(tmp_path, requests), strict=True
    ):
        trainer.step(sample, label)
        if apply:
            trainer.apply()
        assert answer.rollbacks == trainer.rollbacks
        assert block == block_of(made.train.graph, Manifest.load(tmp_path), trainer.parameters)
    assert trainer.rollbacks > 0


@needs_gcc
def test_class_centres_are_of_the_snapshot(tmp_path: Path) -> None:
    """A triplet loss has no limit by default, and its centres learn too."""
    net = Network((1, 10), seed=2)
    graph, samples = net.graph(net.dense("x", 6, activation="none")), net.inputs(30)
    chosen = Plan(
        training=Training(loss="triplet", classes=3, margin=0.5),
        optimizer=Optimizer(learning_rate=0.05, momentum=0.8),
        guard=Guard(window=4, factor=1.25, floor=0.01),
        update=(Update(layers="all", bias=True, weights=1.0),),
    )
    made = compile_model(
        graph, name="model", plan=chosen, samples=samples, labels=[i % 3 for i in range(30)]
    )
    host, trainer = both(made, tmp_path)
    for i in range(60):
        step, answer = trainer.step(samples[i % 30], i % 3), host.train(samples[i % 30], i % 3)
        assert np.float32(answer.loss) == np.float32(step.loss)
        assert answer.rollbacks == trainer.rollbacks
        assert made.train is not None
        assert host.parameters() == block_of(made.train.graph, host.manifest, trainer.parameters)
    assert trainer.rollbacks > 1
    assert trainer.parameters["class/centre"].any()


def of_guard_c(body: str, folder: Path) -> list[int]:
    """The numbers that statements print, which see what is private to guard.c."""
    text = f'#include "{RUNTIME}/src/guard.c"\n#include <stdio.h>\n'
    text += '#define PRINT(x) printf("%llu ", (unsigned long long)(x))\n'
    (folder / "main.c").write_text(f"{text}int main(void) {{\n{body}    return 0;\n}}\n")
    command = ["gcc", "-std=c11", f"-I{RUNTIME / 'include'}", "main.c", "-o", "main"]
    subprocess.run(command, check=True, cwd=folder)
    result = subprocess.run([str(folder / "main")], capture_output=True, check=True)
    return list(map(int, result.stdout.split()))


@needs_gcc
def test_losses_become_integers(tmp_path: Path) -> None:
    """As docs/training.md has it: trunc(loss * 2^32), and 2^47 at most."""
    small, large = np.float32(0.1), np.float32(32767.998)
    expected = {
        0.0: 0, 2.0**-40: 0, 3 * 2.0**-33: 1, 1.5: 3 << 31, 1e30: 1 << 47, 32768.0: 1 << 47,
        float(small): int(float(small) * 2**32), float(large): int(float(large) * 2**32),
    }  # fmt: skip
    body = "".join(f"    PRINT(fixed({loss.hex()}f));\n" for loss in expected)
    assert of_guard_c(body, tmp_path) == list(expected.values())


@needs_gcc
def test_limits_equal_numpy(tmp_path: Path) -> None:
    """Before a window is whole, then by the best one, its floor, or the limit."""
    form = TargetForm("softmax_cross_entropy", 7)
    body, expected = "", []
    for guard in (Guard(), Guard(window=4096, limit=0, factor=16), Guard(factor=0, limit=1.5)):
        limits = Limits.of(guard, form)
        for best in (None, 12345, limits.floor, 2**33 * guard.window, 2**59):
            told = "UINT64_MAX" if best is None else f"{best}u"
            body += (
                f"    {{\n        tk_guard_state state = {{.best = {told}}};\n"
                f"        const tk_guard g = {{.limit = {limits.limit}u, .floor = {limits.floor}u, "
                f".factor = {limits.factor}, .state = &state}};\n        PRINT(most(&g));\n    }}\n"
            )
            expected.append(limits.most(best))
    assert of_guard_c(body, tmp_path) == expected
    assert len(set(expected)) > 6


# --- what it is for -------------------------------------------------------------------------------

Task = tuple[Array, Array, Array, Array]  # samples and labels to train on, and to test with


@pytest.fixture(scope="module")
def task() -> Task:
    """Noise around a centre for each of four classes."""
    random = np.random.default_rng(1)
    centres = random.uniform(-70, 70, (4, 12))

    def some(count: int) -> tuple[Array, Array]:
        labels = random.integers(0, len(centres), count)
        x = centres[labels] + random.normal(0, 25, (count, 12))
        return np.clip(x, -128, 127).astype(np.int8), labels

    return (*some(1200), *some(300))


def trained(
    task: Task, labels: Array, guard: Guard | None, folder: Path, learning_rate: float = 0.01
) -> tuple[list[float], int]:
    """(accuracy before the first step and after every 300, how often the guard went back)."""
    x, _, test_x, test_y = task
    net = Network((1, 12), seed=4)
    chosen = Plan(
        optimizer=Optimizer(learning_rate=learning_rate),
        guard=guard,
        update=(Update(layers="all", bias=True, weights=1.0),),
    )
    graph = net.graph(net.dense(net.dense("x", 16), 4))
    made = compile_model(graph, name="model", plan=chosen, samples=x[:32, None], labels=labels[:32])
    write(made, folder)
    host = HostModel(folder)

    def accuracy() -> float:
        return float(np.mean([int(host.infer(s).argmax()) for s in test_x] == test_y))

    found, rollbacks = [accuracy()], 0
    for i, (sample, label) in enumerate(zip(x, labels, strict=True)):
        rollbacks = host.train(sample, int(label)).rollbacks
        if i % 300 == 299:
            found.append(accuracy())
    return found, rollbacks


@needs_gcc
@pytest.mark.parametrize("snapshots", [1, 2])
def test_wrong_labels_cost_nothing_that_was_learnt(
    snapshots: Any, task: Task, tmp_path: Path
) -> None:
    """After 300 good samples all labels are random."""
    labels = task[1].copy()
    labels[300:] = np.random.default_rng(2).integers(0, 4, len(labels) - 300)
    lost, none = trained(task, labels, None, tmp_path / "without")
    kept, rollbacks = trained(task, labels, Guard(snapshots=snapshots), tmp_path / "with")
    assert none == 0
    assert lost[1] == kept[1] > 0.9
    assert max(lost[2:]) < 0.7
    assert min(kept[1:]) > 0.9
    assert rollbacks > 10


@needs_gcc
def test_a_rate_that_is_absurd_is_halved_until_it_learns(task: Task, tmp_path: Path) -> None:
    lost, _ = trained(task, task[1], None, tmp_path / "without", 20.0)
    kept, rollbacks = trained(task, task[1], Guard(), tmp_path / "with", 20.0)
    assert max(lost) < 0.7
    assert kept[-1] > 0.9
    assert 3 < rollbacks < 20


# --- what a plan may say --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("factor = 0.5", "guard: Value error, factor is 1 or more, or 0 for none"),
        ("factor = 0\nlimit = 0", "guard: Value error, a guard without limit and factor watches"),
        ("windows = 8", "unknown key guard.windows; did you mean window?"),
        ("window = 0", "guard.window: Input should be greater than or equal to 1"),
        ("snapshots = 3", "guard.snapshots: Input should be 1 or 2"),
        ("rate_factor = 2", "guard.rate_factor: Input should be less than or equal to 1"),
        ("limit = nan", "guard.limit: Input should be"),
    ],
)
def test_bad_options_are_one_clear_line(text: str, error: str) -> None:
    given = tomllib.loads(f'[guard]\n{text}\n[[update]]\nlayers = "head"\nbias = true\n')
    with pytest.raises(UsageError) as raised:
        Plan.parse(given, "my.toml")
    assert str(raised.value).startswith(f"my.toml: {error}")
    assert "\n" not in raised.value.message


def test_a_loss_without_limit_needs_a_factor() -> None:
    net = Network((1, 10), seed=2)
    graph = net.graph(net.dense("x", 6))
    chosen = plan(Guard(factor=0)).model_copy(
        update={"training": Training(loss="mean_squared_error")}
    )
    with pytest.raises(PlanError, match="watches nothing: mean_squared_error has no limit"):
        write(compile_model(graph, name="model", plan=chosen), Path("nowhere"))


def test_a_plan_with_a_guard_is_written_and_read_again() -> None:
    for guard in (Guard(), Guard(window=8, limit=1.5, snapshots=1)):
        given = plan(guard)
        assert Plan.parse(tomllib.loads(plan_text(given)), "plan").guard == guard
    assert Plan.parse(tomllib.loads(plan_text(plan(None))), "plan").guard is None


def test_snapshots_are_counted() -> None:
    """To the byte: 24 of the window, and copies of weights and biases alone."""
    sizes = []
    for snapshots in (1, 2):
        made, _ = compiled(residual, plan(Guard(snapshots=snapshots), momentum=0.9))
        sram = manifest(emit(made)).memory.sram
        assert sram["guard"] == 24 + snapshots * len(made.block.initial)
        assert made.block.kept_bytes == len(made.block.initial) == made.block.zeroed_from
        sizes.append(sum(sram.values()))
    made, _ = compiled(residual, plan(None, momentum=0.9))
    sram = manifest(emit(made)).memory.sram
    assert "guard" not in sram
    assert sizes == [sum(sram.values()) + 24 + n * len(made.block.initial) for n in (1, 2)]


def test_adams_deviations_stay() -> None:
    """They make steps small where gradients have been large: not what a rollback should forget."""
    made, _ = compiled(residual, plan(Guard(), method="adam"))
    block = made.block
    roles = [block.role(tensor).removeprefix("bias_") for tensor in block.tensors]
    at = {t.name: block.offsets[t.name] for t in block.tensors}
    for tensor, role in zip(block.tensors, roles, strict=True):
        kept, zeroed = at[tensor.name] < block.kept_bytes, at[tensor.name] >= block.zeroed_from
        assert (kept, zeroed) == (role in ("bias", "weights"), role in ("residual", "momentum"))
    assert "deviation" in roles


def test_a_plans_report_says_when_it_goes_back(tmp_path: Path) -> None:
    """By default twice ln(classes), and a quarter of that; a mean squared error has no such."""
    net, output = residual()
    graph = net.graph(output)
    made = compile_model(graph, name="model", plan=plan(Guard(rate_factor=1.0)))
    classes = write(made, tmp_path).classes or 0
    limit, floor = f"{2 * np.log(classes):.3g}", f"{np.log(classes) / 4:.3g}"
    assert (
        f"guard: back to a snapshot where the mean loss of 32 steps is above {limit} or 3 times "
        f"the best such mean (or {floor})"
    ) in plan_report(graph, made.plan, manifest(emit(made))).parts
    squared = plan(Guard()).model_copy(update={"training": Training(loss="mean_squared_error")})
    made = compile_model(graph, name="model", plan=squared)
    assert (
        "guard: back to a snapshot where the mean loss of 32 steps is above 3 times "
        "the best such mean, and the learning rate times 0.5"
    ) in plan_report(graph, made.plan, manifest(emit(made))).parts
