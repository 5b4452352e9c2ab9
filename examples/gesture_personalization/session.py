"""One person with one device: evaluate, learn, evaluate, and the same on the host for proof."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from tinykit.boards import Board
from tinykit.errors import TinykitError
from tinykit.host import HostModel
from tinykit.link import Client
from tinykit.targets import open_target
from tinykit.verify import compare

Int8Array = NDArray[np.int8]
Labelled = tuple[Int8Array, NDArray[np.int64]]  # windows [n, …] and class numbers [n]


@dataclass(frozen=True)
class Run:
    """Everything visible of a session, from the device or from the host."""

    outputs_before: Int8Array
    outputs_after: Int8Array
    predictions: tuple[int, ...]
    losses: NDArray[np.float32]
    parameters: bytes
    saturations: int


@dataclass(frozen=True)
class Trial:
    """Accuracies in %; `differing` counts the bits in which the device was not the host."""

    before: float
    after: float
    steps: int
    saturations: int
    compared: int
    differing: int
    verdict: str

    @property
    def equal(self) -> bool:
        return self.differing == 0


def run_trial(
    generated: Path,
    elf: Path,
    board: Board,
    target: str,
    port: str | None,
    adapt: Labelled,
    test: Labelled,
    bar: Progress,
) -> Trial:
    """The session on the device, its replay on the host, and what differs between them."""
    host = HostModel(generated)
    with (
        open_target(target, elf=elf, board=board, port=port) as running,
        Client(running.url, host.manifest, elf=elf) as client,
    ):
        client.reset()
        device = _session(client, adapt, test, "device", bar)
        reference = _session(host, adapt, test, "host", bar)
        compared, differing = _compare(device, reference)
        verdict = (
            f"{differing:,} of {compared:,} bits differ: outputs of {2 * len(test[1])} inferences, "
            f"{len(adapt[1])} predictions and losses, {len(device.parameters):,} B of parameters"
        )
        if differing:  # the layer to look at
            found = compare(client, host, adapt[0], adapt[1], steps=len(adapt[1]))
            verdict += f"; {found.difference or 'the difference does not come again'}"
    return Trial(
        before=_accuracy(device.outputs_before, test[1]),
        after=_accuracy(device.outputs_after, test[1]),
        steps=len(adapt[1]),
        saturations=device.saturations,
        compared=compared,
        differing=differing,
        verdict=verdict,
    )


def _session(
    model: Client | HostModel, adapt: Labelled, test: Labelled, where: str, bar: Progress
) -> Run:
    """Evaluate, learn from every window once, evaluate."""
    before = _evaluate(model, test[0], f"{where}: evaluating", bar)
    task = bar.add_task(f"{where}: learning", total=len(adapt[1]))
    steps = []
    for x, label in zip(*adapt, strict=True):
        steps.append(model.train(x, int(label)))
        bar.advance(task)
    model.apply()
    return Run(
        outputs_before=before,
        outputs_after=_evaluate(model, test[0], f"{where}: evaluating again", bar),
        predictions=tuple(step.prediction for step in steps),
        losses=np.array([step.loss for step in steps], dtype=np.float32),
        parameters=model.parameters(),
        saturations=sum(step.saturations for step in steps),
    )


def _evaluate(model: Client | HostModel, windows: Int8Array, text: str, bar: Progress) -> Int8Array:
    task = bar.add_task(text, total=len(windows))
    outputs = []
    for x in windows:
        outputs.append(model.infer(x).reshape(-1))
        bar.advance(task)
    return np.stack(outputs)


def _accuracy(outputs: Int8Array, labels: NDArray[np.int64]) -> float:
    return 100 * float(np.mean(outputs.argmax(axis=1) == labels))


def _compare(ours: Run, theirs: Run) -> tuple[int, int]:
    """Bits compared, and bits that differ."""
    pairs = (
        (ours.outputs_before, theirs.outputs_before),
        (ours.outputs_after, theirs.outputs_after),
        (np.array(ours.predictions, np.int32), np.array(theirs.predictions, np.int32)),
        (ours.losses, theirs.losses),
        (np.frombuffer(ours.parameters, np.uint8), np.frombuffer(theirs.parameters, np.uint8)),
    )
    compared = differing = 0
    for mine, other in pairs:
        left, right = (np.frombuffer(a.tobytes(), np.uint8) for a in (mine, other))
        if len(left) != len(right):
            raise TinykitError("device and host answered with different amounts of data")
        compared += 8 * len(left)
        differing += int(np.unpackbits(left ^ right).sum())
    return compared, differing


def count_instructions(
    elf: Path, board: Board, target: str, window: Int8Array, label: int
) -> tuple[int, int] | None:
    """Instructions of an inference and of a training step, on an emulator that can count."""
    counter = target if target in ("unicorn", "qemu") else "unicorn"
    if counter == "unicorn" and board.unicorn is None:
        return None
    with open_target(counter, elf=elf, board=board, count_instructions=True) as counting:
        with Client(counting.url, elf=elf) as client:
            client.infer(window)
            client.train(window, label)
        inference, step = counting.instructions()[-2:]
    return inference, step
