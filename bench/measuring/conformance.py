"""One training run, built in many ways: every result must be the same, byte for byte."""

from __future__ import annotations

import json
import shutil
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.architectures import mobile
from tinykit.boards import Board, load_board
from tinykit.build import build_firmware
from tinykit.build.objects import read_objects
from tinykit.codegen import Compiled, compile_model, write
from tinykit.host import HostModel
from tinykit.host.library import host_compiler
from tinykit.ir import Graph
from tinykit.link import Client
from tinykit.ops.registry import operator
from tinykit.schedule import Program
from tinykit.schedule.facts import aligned, scratch_bytes, scratch_name
from tinykit.targets import default_target, open_target
from tinykit.training.plan import Optimizer, Plan, Update

STEPS = 20
LARGE = 10**9  # bytes of arena: nothing has to be streamed
LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os", "-Oz")
VARIANTS = {
    "portable": (),
    "DSP": ("-DTK_DSP_EMULATED=1",),
    "packed": ("-DTK_PACKED_EMULATED=1",),
}
BOARDS = ("mps2_an385_m0plus", "mps2_an385", "mps2_an386", "mps2_an500", "mps3_an547")
M33 = "an386_m33"
IDENTITY = slice(28, 44)  # in the saved form: a digest of the C text, which schedules change
HELPERS = ("__aeabi_f", "__aeabi_i2f", "__aeabi_ui2f", "__aeabi_l2f", "__aeabi_ul2f")


@dataclass(frozen=True)
class Result:
    """What a build of the run gave, as CRC-32: parameters (residuals and the optimizer's states
    with them), the float32 bits of all losses, and what the trainer keeps (step, running
    accumulation, counters: random numbers depend on seed and step alone)."""

    schedule: str
    build: str
    where: str
    parameters: int
    losses: int
    trainer: int

    @property
    def bits(self) -> tuple[int, int, int]:
        return self.parameters, self.losses, self.trainer


@dataclass(frozen=True)
class Run:
    """What is trained: samples int8 [n, …] with labels, again from the first when they run out."""

    graph: Graph
    plan: Plan
    samples: NDArray[np.int8]
    labels: tuple[int, ...]
    steps: int = STEPS

    def __iter__(self) -> Iterator[tuple[NDArray[np.int8], int]]:
        for i in range(self.steps):
            yield self.samples[i % len(self.samples)], self.labels[i % len(self.labels)]

    def compiled(self, arena: int) -> Compiled:
        """The fastest schedule in so many bytes, or the smallest."""
        return compile_model(
            self.graph, name="model", plan=self.plan, samples=self.samples,
            labels=list(self.labels), arena=arena,
        )  # fmt: skip


def small_run() -> Run:
    """Convolutions, depthwise ones, a residual, a dense layer; part of the channels of six layers
    learn, with momentum, stochastic rounding and three samples an update, the last one open."""
    net, output = mobile()
    plan = Plan(
        optimizer=Optimizer(learning_rate=0.02, momentum=0.9, accumulate=3, seed=7),
        update=(
            Update(layers="last 6", bias=True, weights=0.5),
            Update(layers="head", bias=True, weights=1.0),
        ),
    )
    samples = net.inputs(8)
    return Run(net.graph(output), plan, samples, tuple(i % 5 for i in range(8)))


def schedules(run: Run) -> dict[str, Compiled]:
    """The same training in other orders and places."""
    whole = run.compiled(LARGE)
    assert whole.train is not None
    apart = replace(whole, infer=spread(whole.infer), train=spread(whole.train))
    return {"layer by layer": whole, "streamed": run.compiled(1), "nothing in place": apart}


def spread(program: Program) -> Program:
    """Every tensor of a program that streams nothing, and all scratch, in a place of its own."""
    graph, offsets, end = program.graph, dict[str, int](), 0

    def place(name: str, size: int) -> None:
        nonlocal end
        offsets[name] = end
        end += aligned(size)

    for name in graph.inputs:
        place(name, graph[name].bytes)
    for op in graph.ops:
        rule = operator(op.kind)
        for name in op.outputs:
            if rule.alias:
                offsets[name] = offsets[op.inputs[0]]
            else:
                place(name, graph[name].bytes)
        place(scratch_name(op), scratch_bytes(graph, op))
    return replace(program, offsets=offsets, arena_bytes=end, bound_bytes=end)


def crcs(saved: bytes, losses: Sequence[int]) -> tuple[int, int, int]:
    """(parameters, losses, trainer) of a saved form and the losses' bits."""
    bits = struct.pack(f"<{len(losses)}I", *losses)
    return (
        zlib.crc32(saved[IDENTITY.stop : -4]),
        zlib.crc32(bits),
        zlib.crc32(saved[: IDENTITY.start]),
    )


def on_host(
    run: Run, generated: Path, flags: Sequence[str], compiler: Sequence[str] = ()
) -> tuple[int, int, int]:
    """The run by a build of the generated C for this machine."""
    host = HostModel(generated, flags=flags, compiler=compiler)
    losses = []
    for sample, label in run:
        step = host.train(sample, label)
        losses.append(struct.unpack("<I", struct.pack("<f", step.loss))[0])
    return crcs(host.save(), losses)


def on_board(
    run: Run, generated: Path, board: Board, work: Path, flags: Sequence[str]
) -> tuple[int, int, int]:
    """The run by firmware on an emulated core, over the link."""
    firmware = build_firmware(
        generated, board, work, trace=False, check=False, extra_flags=tuple(flags)
    )
    with (
        open_target(default_target(board), elf=firmware.elf, board=board) as target,
        Client(target.url) as client,
    ):
        losses = [client.train(sample, label).loss_bits for sample, label in run]
        return crcs(client.save(), losses)


def compilers() -> dict[str, list[str]]:
    """gcc, and clang (or pip's, in ziglang) where they are installed."""
    found = {name: [name] for name in ("gcc", "clang") if shutil.which(name)}
    try:
        import ziglang  # noqa: F401
    except ImportError:
        pass
    else:
        found.setdefault("clang", [sys.executable, "-m", "ziglang", "cc"])
    return found or {"cc": host_compiler()}


def load(name: str, work: Path) -> Board:
    """A board, or the Cortex-M33, for which there is none: its code on the Cortex-M4's machine, as
    Unicorn's core runs it."""
    if name != M33:
        return load_board(name)
    like = load_board("mps2_an386")
    manifest = json.loads(like.manifest.read_text())
    manifest["build"] |= {"cpu": "cortex-m33", "fpu": "fpv5-sp-d16"}
    path = work / f"{M33}.json"
    path.write_text(json.dumps(manifest))
    return replace(
        like, name=M33, core="Cortex-M33", cpu="cortex-m33", fpu="fpv5-sp-d16", unicorn="m33",
        qemu=None, manifest=path,
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A row of the matrix to be."""

    schedule: str
    build: str
    where: str
    run: Callable[[], tuple[int, int, int]]


def cases(run: Run, work: Path, quick: bool = False) -> list[Case]:
    """Every schedule on this machine and on cores of three kinds; every compiler and level, every
    instruction set, every core. quick: a few of each."""
    folders = {}
    for number, (name, compiled) in enumerate(schedules(run).items()):
        folders[name] = work / f"schedule-{number}"
        write(compiled, folders[name])
    first, *others = folders
    found = []

    def host(schedule: str, compiler: str, level: str, variant: str) -> None:
        flags = (level, *VARIANTS[variant])
        command = compilers()[compiler]
        found.append(
            Case(
                schedule, f"{compiler} {level}", f"host, {variant}",
                lambda: on_host(run, folders[schedule], flags, command),
            )
        )  # fmt: skip

    def board(schedule: str, name: str, level: str = "-O2", *more: str) -> None:
        chosen, at = load(name, work), work / f"{name}{level}-{list(folders).index(schedule)}"
        where = f"{chosen.core}, {default_target(chosen)}"
        found.append(
            Case(
                schedule, f"cross {level}", where,
                lambda: on_board(run, folders[schedule], chosen, at, (level, *more)),
            )
        )  # fmt: skip

    for compiler in compilers():
        for level in ("-O0", "-Os") if quick else LEVELS:
            host(first, compiler, level, "portable")
    main = next(iter(compilers()))
    for schedule in folders:
        for variant in ("DSP",) if quick else VARIANTS:
            if (schedule, variant) != (first, "portable"):
                host(schedule, main, "-O2", variant)
    if quick:
        return found
    for name in (*BOARDS, M33):
        board(first, name)
    for schedule in others:
        for name in ("mps2_an385_m0plus", "mps2_an386", "mps3_an547"):
            board(schedule, name)
    # not -O0: a build refuses it, as the stack of its inline assembly cannot be bounded; nor the
    # jumps through tables of pointers that -Os makes
    for levels in (("-O1",), ("-O3",), ("-Os", "-fno-jump-tables")):
        board(first, "mps2_an386", *levels)
    return found


def differing(results: Sequence[Result]) -> list[Result]:
    """Those whose bits are not the first one's."""
    return [result for result in results if result.bits != results[0].bits]


# Functions that may use floats, and for each of what in a step. The losses loop over classes, and
# updates over channels for their rates (a depthwise layer has few weights for each); none is made
# for each pixel, product or gradient.
SCALARS = {
    "tk_exp": "classes",
    "tk_log": "losses, norms",
    "tk_softmax_cross_entropy_s8": "classes",
    "tk_growing_softmax_cross_entropy_s8": "classes",
    "tk_sigmoid_cross_entropy_s8": "outputs",
    "tk_mean_squared_error_s8": "step",
    "tk_reconstruction_error_s8": "step",
    "tk_step_begin": "step",
    "tk_step_end": "step",
    "tk_guard_begin": "times that it went back",
    "tk_rate_of": "output channels",
    "tk_update_rate": "output channels, weights of depthwise layers",
    "tk_channel_multiplier": "output channels",
    "tk_updating_begin": "trained tensors",
    "tk_updating_again": "trained tensors",
    "tk_class_centres_s8": "classes",
    "tk_triplet_s8": "classes",
}
CHOSEN = "gradients_f32"  # the object of plans with gradients = "float32", which no others link


def float_functions(elf: Path) -> set[str]:
    """The runtime's functions that call the compiler's float functions, in firmware of a core
    without FPU, where every float operation is such a call."""
    objects = [
        (f"{path.name.split('.')[0]}", path.read_bytes())
        for path in sorted(elf.parent.rglob("*.o"))
        if path.parent.name != "model" and not path.name.startswith(CHOSEN)
    ]
    graph = read_objects(objects)
    names = {node: symbol for symbol, node in graph.symbols.items()}
    return {
        names.get(name, name)
        for name, node in graph.nodes.items()
        if any(ref.startswith(HELPERS) for ref in node.refs)
    }
