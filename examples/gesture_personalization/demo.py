"""A watch that learns its wearer: the whole way from float training to proof, on an emulated board.

For every subject shown: train on the other nine people, quantize, choose what learns, generate C,
build firmware, run it, evaluate on the device, let the device learn from the person's labelled
windows one by one, evaluate again, and compare every bit with the host. Exit code 0 only if the
model fits, the memory is as planned, the person gains, and no bit differs.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from data import EXERCISES, SUBJECTS
from factory import CACHE, HERE, Factory, int8_windows, make_factory_model
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from session import Trial, count_instructions, run_trial

from tinykit.boards import Board, load_board
from tinykit.build import Firmware, MemoryPlan, build_firmware, check_fit
from tinykit.codegen import Manifest
from tinykit.errors import DoesNotFitError, TinykitError
from tinykit.report.generated import plan_report
from tinykit.report.report import Column, Report, Table, numbers
from tinykit.training.plan import Plan

PLANS = ("plan.toml", "head_only.toml")  # the first that fits the board is used


@dataclass(frozen=True)
class Built:
    """Firmware with what was known before it was compiled."""

    folder: Path
    manifest: Manifest
    planned: MemoryPlan
    firmware: Firmware


@dataclass(frozen=True)
class Shown:
    """All of one subject's results; instructions are None where they were not counted."""

    factory: Factory
    built: Built
    trial: Trial
    instructions: tuple[int, int] | None


class Screen:
    """Where the demo prints: steps, reports, and a bar for what takes long."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self._step = 0

    def step(self, text: str) -> None:
        self._step += 1
        self.console.print(f"\n[bold]{self._step}. {text}[/bold]")

    def say(self, text: str) -> None:
        self.console.print(f"   {text}", markup=False)

    def report(self, *parts: Table | str) -> None:
        Report({}, parts).print(self.console)

    def bar(self) -> Progress:
        columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn())
        return Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)


def choose_plan(
    factory: Factory, board: Board, folder: Path, screen: Screen
) -> tuple[Manifest, MemoryPlan]:
    """Generate C for the first plan that fits the board. Raises DoesNotFitError when none does."""
    graph = factory.graph()
    for name in PLANS:
        plan = Plan.load(HERE / name)
        manifest = factory.generate(folder, plan)
        try:
            planned = check_fit(manifest, board)
        except DoesNotFitError as error:
            if name == PLANS[-1]:
                raise
            screen.say(f"{name}: {error.message}")
            continue
        screen.report(*plan_report(graph, plan, manifest, None).parts[:2])
        learning = manifest.parameter_bytes
        screen.say(
            f"{name} fits {board.title}: {planned.sram_bytes:,} B of {board.sram:,} B SRAM at most "
            f"({learning:,} B of them learn)"
        )
        return manifest, planned
    raise AssertionError("PLANS is empty")


def memory_table(built: Built) -> Table:
    """Every kind of memory: planned exactly or bounded before compiling, and as linked."""
    report, planned = built.firmware.report, built.planned
    rows: list[tuple[str, ...]] = []
    for memory, exact, budget, total, most in (
        ("SRAM", planned.sram, planned.board.sram, report.sram, planned.sram_bytes),
        ("flash", planned.flash, planned.board.flash, report.flash, planned.flash_bytes),
    ):
        kinds = report.kinds("sram" if memory == "SRAM" else "flash")
        rows += [
            (f"{memory} {kind}", f"{size:,}", "", f"{kinds.get(kind, 0):,}")
            for kind, size in exact.items()
            if size
        ]
        bounds = planned.bounds
        bounded = (
            (("runtime's variables", bounds.bss, report.bss), ("stack", bounds.stack, report.stack))
            if memory == "SRAM"
            else (("code", bounds.code, report.code),)
        )
        rows += [
            (f"{memory} {kind}", "", f"≤ {bound:,}", f"{size:,}") for kind, bound, size in bounded
        ]
        rows.append((f"{memory}, all of {budget:,}", "", f"≤ {most:,}", f"{total:,}"))
    columns = (Column("memory, B"), *numbers("planned exactly", "bounded", "linked"))
    return Table(columns, tuple(rows))


def memory_faults(built: Built) -> list[str]:
    """What is not as planned; the build itself has checked that the exact items are."""
    report, bounds = built.firmware.report, built.planned.bounds
    pairs = (
        ("code", report.code, bounds.code),
        ("the runtime's variables", report.bss, bounds.bss),
        ("the stack", report.stack, bounds.stack),
    )
    faults = [f"{what}: {size:,} B, bound {most:,} B" for what, size, most in pairs if size > most]
    if report.sram > report.sram_budget or report.flash > report.flash_budget:
        faults.append("the firmware is larger than the board's budget")
    return faults


def show_subject(subject: int, board: Board, target: str, port: str | None, seed: int) -> Shown:
    """All five steps for one subject, printed as they happen."""
    screen = Screen()
    screen.console.rule(f"[bold]subject {subject}, whom the model has never seen")
    screen.step("Train a float network on the other nine people, and quantize it")
    factory = make_factory_model(subject, seed, screen.say)
    when = "kept from an earlier run" if factory.cached else f"trained in {factory.seconds:.0f} s"
    before, after = 100 * factory.accuracy_float, 100 * factory.accuracy_int8
    screen.say(f"{when}; int8 model of {factory.bytes_int8:,} B")
    screen.say(
        f"accuracy on subject {subject}: float {before:.1f} %, int8 {after:.1f} % "
        f"(lost {before - after:.1f} points; weakest layer {factory.weakest_layer}, "
        f"{factory.weakest_ratio:.0f} dB)"
    )

    screen.step("Choose what learns, and generate the C")
    folder = CACHE / "build" / f"subject{subject}" / board.name
    manifest, planned = choose_plan(factory, board, folder / "generated", screen)

    screen.step(f"Build firmware for {board.title}, and start it on {target}")
    with screen.console.status("compiling and linking"):
        firmware = build_firmware(folder / "generated", board, folder / "firmware")
    built = Built(folder, manifest, planned, firmware)
    screen.say(f"{firmware.elf.name}, compiled by {firmware.compiler.id}")
    screen.report(memory_table(built))

    screen.step("Let it learn on the device, one labelled window after the other")
    split, graph = factory.split, factory.graph()
    adapt, test = int8_windows(split.adapt, graph), int8_windows(split.test, graph)
    with screen.bar() as bar:
        trial = run_trial(
            built.folder / "generated", firmware.elf, board, target, port,
            (adapt, split.adapt.y), (test, split.test.y), bar,
        )  # fmt: skip
    screen.say(
        f"before: {trial.before:.1f} % of {len(test)} test windows right; "
        f"after {len(adapt)} steps: {trial.after:.1f} % ({trial.after - trial.before:+.1f} points)"
    )
    screen.say(f"gradients that saturated: {trial.saturations}")

    screen.step("Verify: the same on the host, every bit compared")
    screen.say(trial.verdict)
    counted = count_instructions(firmware.elf, board, target, adapt[0], int(split.adapt.y[0]))
    if counted:
        screen.say(
            f"instructions: {counted[0]:,} per inference ({manifest.macs['infer']:,} "
            f"multiply-accumulates), {counted[1]:,} per training step ({manifest.macs['train']:,})"
        )
    return Shown(factory, built, trial, counted)


def summary(shown: list[Shown]) -> Table:
    """One row per subject."""
    rows = []
    for entry in shown:
        report, trial = entry.built.firmware.report, entry.trial
        infer, train = entry.instructions or (0, 0)
        rows.append(
            (
                f"subject {entry.factory.subject}",
                f"{trial.before:.1f} %",
                f"{trial.after:.1f} %",
                f"{trial.after - trial.before:+.1f}",
                f"{trial.differing:,}",
                f"{report.sram:,}",
                f"{report.flash:,}",
                f"{infer:,}" if infer else "not counted",
                f"{train:,}" if train else "not counted",
            )
        )
    columns = numbers(
        "before", "after", "points", "differing bits", "SRAM B", "flash B",
        "instructions / inference", "/ training step",
    )  # fmt: skip
    return Table((Column("on the device"), *columns), tuple(rows), title="Summary")


def faults_of(shown: list[Shown]) -> list[str]:
    """Everything that keeps the exit code from being 0."""
    faults = []
    for entry in shown:
        who = f"subject {entry.factory.subject}"
        faults += [f"{who}: {fault}" for fault in memory_faults(entry.built)]
        if not entry.trial.equal:
            faults.append(f"{who}: {entry.trial.verdict}")
    gain = float(np.mean([entry.trial.after - entry.trial.before for entry in shown]))
    if gain <= 0:
        faults.append(f"learning changed accuracy by {gain:+.1f} points: it should have risen")
    return faults


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    targets = ("unicorn", "qemu", "renode", "serial")
    parser.add_argument("--target", choices=targets, default="unicorn")
    parser.add_argument("--board", default="mps2_an386", help="`tinykit boards` lists them")
    parser.add_argument("--port", help="serial port of a real board (with --target serial)")
    parser.add_argument(
        "--subjects", type=int, nargs="+", choices=SUBJECTS, default=[1, 2], metavar="N",
        help="who is held out: 1 … 10, one or several (default: 1 2)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="of the float training")
    return parser.parse_args()


def main() -> int:
    """The exit code: 0 all holds, 1 something failed or does not fit, 2 wrong usage."""
    arguments = parse_arguments()
    console = Console(highlight=False, soft_wrap=True)
    try:
        board = load_board(arguments.board)
        console.print(
            f"Recognising {len(EXERCISES)} exercises from a wrist watch, on {board.title}: "
            f"{', '.join(EXERCISES)}."
        )
        shown = [
            show_subject(subject, board, arguments.target, arguments.port, arguments.seed)
            for subject in arguments.subjects
        ]
    except TinykitError as error:
        console.print(f"error: {error.message}", markup=False)
        if error.hint:
            console.print(f"  {error.hint}", markup=False)
        return error.exit_code
    console.print()
    Report({}, (summary(shown),)).print(console)
    faults = faults_of(shown)
    for fault in faults:
        console.print(f"FAILED: {fault}", markup=False)
    if not faults:
        console.print(
            "All of it holds: memory as planned, accuracy up, device and host equal bit for bit."
        )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
