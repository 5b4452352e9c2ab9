"""One model on one board: built once, run on QEMU, taken apart. All figures are of that build."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.measuring.counting import AROUND, GENERATED, Layer, Run, count
from bench.measuring.cycles import Tally, published, tally
from bench.measuring.golden import tflm_outputs
from bench.measuring.markers import find_markers
from bench.measuring.memory import Footprint, footprint
from bench.measuring.models import samples_for
from bench.measuring.worst import worst_case
from tinykit.boards import Board
from tinykit.build.firmware import build_firmware
from tinykit.build.image import read_image
from tinykit.codegen.emit import describe
from tinykit.codegen.generate import Compiled, compile_model, write
from tinykit.errors import BuildError, UsageError
from tinykit.importers import load_model
from tinykit.ir import Graph
from tinykit.ops.registry import operator

FLAGS = ("-g",)  # the line table, which takes no flash; it changes no instruction


@dataclass(frozen=True)
class LayerCost:
    """An op of the model, or one of the two parts that belong to none."""

    name: str
    kind: str
    macs: int
    instructions: int
    cycles: int | None


@dataclass(frozen=True)
class Measured:
    """What one inference takes; None for cycles where no table is published for the core.

    `macs` are those of the model as published, `macs_left` those that remain after the passes.
    `samples` are the instructions of each sample, `instructions` those of the first; `exact` says
    whether the outputs for all of them are TensorFlow Lite Micro's.  `worst` is a bound for every
    input (see worst.py), None if there is none.
    `histogram`: executions and cycles by instruction, empty without a table.
    `schedule` describes the ops in order, with the bytes of the arena that they use.
    """

    name: str
    board: str
    flags: tuple[str, ...]
    schedule: tuple[str, ...]
    macs: int
    macs_left: int
    instructions: int
    cycles: int | None
    layers: tuple[LayerCost, ...]
    histogram: dict[str, tuple[int, int]]
    memory: Footprint
    exact: bool
    samples: tuple[int, ...]
    worst: int | None

    @property
    def spread(self) -> int:
        """By how many instructions an inference can differ from another, as far as was seen."""
        return max(self.samples) - min(self.samples)


def measure(
    path: Path,
    board: Board,
    work: Path,
    *,
    name: str = "",
    say: Callable[[str], None] | None = None,
) -> Measured:
    """Builds the model's firmware in `work`, runs it, counts and compares.

    Raises UsageError, ModelError, BuildError, TargetError.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such model")
    say = say or (lambda text: None)
    graph = load_model(path)
    compiled = compile_model(graph, name=name or path.stem)
    generated = work / "generated"
    manifest = write(compiled, generated)
    say("building")
    firmware = build_firmware(
        generated, board, work / "firmware", trace=False, check=False, extra_flags=FLAGS
    )
    if firmware.compiler.kind != "gcc":
        raise BuildError(
            "counting by layer needs GCC's line tables", "apt-get install gcc-arm-none-eabi"
        )
    image = read_image(firmware.elf)
    ops = compiled.infer.graph.ops
    markers = find_markers(
        image,
        generated / f"{compiled.name}.c",
        compiled.name,
        [op.name for op in ops],
        [index for index, op in enumerate(ops) if operator(op.kind).alias],
    )
    samples = samples_for(manifest.input.shape[1:])
    say("running")
    runs = count(firmware.elf, board, manifest, markers, samples)
    say("comparing with TensorFlow Lite Micro")
    golden = tflm_outputs(path, samples)
    table = published(board.cpu)
    clocked = tally(runs[0].blocks, image, table.timing) if table else None
    return Measured(
        name=compiled.name,
        board=board.name,
        flags=markers.flags,
        schedule=tuple(describe(compiled.infer, op) for op in ops),
        macs=_macs(graph),
        macs_left=_macs(compiled.infer.graph),
        instructions=runs[0].instructions,
        cycles=sum(clocked.by_layer.values()) if clocked else None,
        layers=tuple(_layers(compiled, runs[0], clocked)),
        histogram=clocked.by_name if clocked else {},
        memory=footprint(firmware, manifest),
        exact=all(
            run.outputs is not None and np.array_equal(run.outputs, right)
            for run, right in zip(runs, golden, strict=True)
        ),
        samples=tuple(run.instructions for run in runs),
        worst=worst_case(runs, image),
    )


def _macs(graph: Graph) -> int:
    return sum(operator(op.kind).cost(graph, op).macs for op in graph.ops)


def _layers(compiled: Compiled, run: Run, clocked: Tally | None) -> Sequence[LayerCost]:
    counts = run.by_layer()
    graph = compiled.infer.graph
    named: list[tuple[Layer, str, str, int]] = [
        (index, op.name, op.kind, operator(op.kind).cost(graph, op).macs)
        for index, op in enumerate(graph.ops)
    ]
    named += [(word, word, "", 0) for word in (GENERATED, AROUND)]
    return [
        LayerCost(
            name, kind, macs, counts.get(key, 0), clocked.by_layer.get(key, 0) if clocked else None
        )
        for key, name, kind, macs in named
    ]
