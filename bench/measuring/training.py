"""A model with an update plan on one board: built once, run on QEMU, taken apart, checked."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.measuring import drift, gradients
from bench.measuring.counting import AROUND, GENERATED, Layer, count
from bench.measuring.markers import find_markers
from bench.measuring.photos import Samples, samples_of
from bench.measuring.progress import Stages
from bench.measuring.subject import fresh_head
from tinykit.boards import Board
from tinykit.build.bounds import check_fit
from tinykit.build.firmware import Firmware, build_firmware
from tinykit.build.image import read_image
from tinykit.codegen.generate import Compiled, compile_model, write
from tinykit.codegen.manifest import Manifest
from tinykit.errors import BuildError, ModelError, PlanError
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.ir import Graph
from tinykit.link import Client
from tinykit.ops.registry import operator
from tinykit.targets.qemu import QemuTarget
from tinykit.training.loss import logits_of
from tinykit.training.plan import Plan
from tinykit.verify import VerifyResult, compare

FLAGS = ("-g",)  # the line table, which takes no flash; it changes no instruction
BEGIN_END = "begin and end of the step"  # tk_step_begin() and tk_step_end()


@dataclass(frozen=True)
class Subject:
    """What is measured: a model with a fresh head, compiled with a plan, its C in `generated`, and
    samples for it."""

    graph: Graph
    plan: Plan
    compiled: Compiled
    manifest: Manifest
    generated: Path
    samples: Samples


@dataclass(frozen=True)
class OpCost:
    """An op of the training step, or one of the parts that belong to none (phase "")."""

    layer: str
    op: str
    kind: str
    phase: str
    macs: int
    instructions: int


@dataclass(frozen=True)
class Memory:
    """Bytes of the whole ELF, stack included, and what they are for."""

    sram: int
    flash: int
    sram_items: Mapping[str, int]
    flash_items: Mapping[str, int]


@dataclass(frozen=True)
class Trained:
    """What one training step takes and how right it is. `drift` is None where no weights learn."""

    name: str
    plan: str
    board: Board
    source: str
    flags: tuple[str, ...]
    macs: Mapping[str, int]
    instructions: int
    ops: tuple[OpCost, ...]
    memory: Memory
    gradients: gradients.Gradients
    drift: drift.Drift | None
    verified: VerifyResult


def prepare(path: Path, plan: Plan, work: Path, samples: str | None) -> Subject:
    """Imports and compiles a model, and writes its C.

    samples: see bench.measuring.photos.samples_of. Raises UsageError, ModelError, PlanError.
    """
    graph = fresh_head(load_model(path))
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(f"{path}: models with one input and one output are supported")
    classes = graph[logits_of(graph)].size
    found = samples_of(samples, graph[graph.inputs[0]], classes)
    known = found.calibration
    compiled = compile_model(graph, name=path.stem, plan=plan, samples=known.x, labels=known.labels)
    generated = work / "generated"
    return Subject(graph, plan, compiled, write(compiled, generated), generated, found)


def build(subject: Subject, board: Board, work: Path) -> Firmware:
    """The firmware as it would be shipped, but with a line table.

    Raises DoesNotFitError before the compiler runs, BuildError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bounds of boards that were never measured: exact below
        with contextlib.suppress(BuildError):  # a kernel newer than the bounds: the linker will say
            check_fit(subject.manifest, board, trace=False)
        return build_firmware(
            subject.generated, board, work, trace=False, check=False, extra_flags=FLAGS
        )


def memory_of(firmware: Firmware) -> Memory:
    """Where the bytes of an ELF go."""
    report = firmware.report
    return Memory(report.sram, report.flash, report.kinds("sram"), report.kinds("flash"))


def measure(
    path: Path,
    plan: Plan,
    board: Board,
    work: Path,
    *,
    steps: int,
    samples: str | None,
    stages: Stages,
) -> Trained:
    """Everything about a model and a plan; `steps` of device and host are compared.

    Raises TinykitError of any kind; see `prepare` and `build`.
    """
    stages.stage("compiling")
    subject = prepare(path, plan, work, samples)
    stages.stage("building")
    firmware = build(subject, board, work / "firmware")
    stages.stage("counting the instructions of a step")
    instructions, ops, flags = counted(subject, firmware, board)
    stages.stage(f"{steps} steps on device and host")
    host = HostModel(subject.generated)
    verified = compared(subject, firmware, board, host, steps, stages)
    stages.stage("gradients")
    near = gradients.check(subject.compiled, host, subject.samples, stages.advance)
    stages.stage("drift by noise")
    drifted = drift.check(subject.graph, plan, subject.samples, work / "drift", stages.advance)
    return Trained(
        name=subject.compiled.name,
        plan=plan.name,
        board=board,
        source=subject.samples.source,
        flags=flags,
        macs=subject.manifest.macs,
        instructions=instructions,
        ops=ops,
        memory=memory_of(firmware),
        gradients=near,
        drift=drifted,
        verified=verified,
    )


def counted(
    subject: Subject, firmware: Firmware, board: Board
) -> tuple[int, tuple[OpCost, ...], tuple[str, ...]]:
    """Instructions of the first step, by op; and the compiler's flags."""
    if firmware.compiler.kind != "gcc":
        raise BuildError(
            "counting by layer needs GCC's line tables", "apt-get install gcc-arm-none-eabi"
        )
    name = subject.compiled.name
    program = subject.compiled.train
    if program is None:
        raise PlanError(f"{name}: has no update plan")
    graph = program.graph
    markers = find_markers(
        read_image(firmware.elf),
        subject.generated / f"{name}.c",
        name,
        [op.name for op in graph.ops],
        [index for index, op in enumerate(graph.ops) if operator(op.kind).alias],
        function="train",
    )
    sample, label = subject.samples.learnt.step(0)
    (run,) = count(firmware.elf, board, subject.manifest, markers, [sample], labels=[label])
    sums = run.by_layer()
    costs = [
        OpCost(
            layer=op.layer or op.name,
            op=op.name,
            kind=op.kind,
            phase=op.phase,
            macs=operator(op.kind).cost(graph, op).macs,
            instructions=sums.get(index, 0),
        )
        for index, op in enumerate(graph.ops)
    ]
    others: Sequence[tuple[Layer, str]] = (
        (len(graph.ops), BEGIN_END), (GENERATED, GENERATED), (AROUND, AROUND),
    )  # fmt: skip
    costs += [OpCost(word, word, "", "", 0, sums.get(key, 0)) for key, word in others]
    return run.instructions, tuple(costs), markers.flags


def compared(
    subject: Subject,
    firmware: Firmware,
    board: Board,
    host: HostModel,
    steps: int,
    stages: Stages | None = None,
) -> VerifyResult:
    """The same steps on QEMU and on the host, compared bit by bit."""
    learnt = subject.samples.learnt
    assert board.qemu is not None
    with (
        QemuTarget(firmware.elf, board.qemu) as target,
        Client(target.url, subject.manifest, elf=firmware.elf) as client,
    ):
        return compare(
            client,
            host,
            learnt.x,
            np.array(learnt.labels),
            steps=steps,
            inferences=1,
            progress=stages.advance if stages else None,
        )
