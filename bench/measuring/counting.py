"""Runs firmware on QEMU and counts, by layer, how often each block of code is executed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.measuring.markers import Markers
from tinykit.boards import Board
from tinykit.codegen.manifest import Manifest
from tinykit.errors import TargetError
from tinykit.link import Client
from tinykit.targets.qemu import QemuTarget, build_plugin, counted_addresses

COUNTER = Path(__file__).with_name("layer_counter.c")
Layer = int | str  # a number that markers have, or one of the two words below
GENERATED = "generated code"  # the model's own functions: arguments of calls, loops
AROUND = "firmware's call"  # between the places where counting begins and ends


@dataclass(frozen=True)
class Block:
    """Consecutive instructions that ran `executed` times on behalf of `layer`; `left` is how often
    they were left by a jump, `entered` how often they were come to by one."""

    layer: Layer
    address: int
    instructions: int
    executed: int
    left: int
    entered: int


@dataclass(frozen=True)
class Run:
    """One inference or training step: the outputs (none of a step), all blocks, and the exact total
    from the other counter."""

    outputs: NDArray[np.int8] | None
    blocks: tuple[Block, ...]
    instructions: int

    def by_layer(self) -> dict[Layer, int]:
        """Instructions by layer."""
        sums: dict[Layer, int] = {}
        for block in self.blocks:
            sums[block.layer] = sums.get(block.layer, 0) + block.executed * block.instructions
        return sums


def count(
    elf: Path,
    board: Board,
    manifest: Manifest,
    markers: Markers,
    samples: Sequence[NDArray[np.int8]],
    progress: Callable[[int, int], None] | None = None,
    labels: Sequence[int] | None = None,
) -> list[Run]:
    """One inference per sample or, with `labels`, one training step; `markers` are of the function
    that is called.

    Raises TargetError where QEMU cannot, or the two counters differ.

    Two plugins count in one QEMU: qemu_counter.c single instructions, layer_counter.c blocks.
    """
    if board.qemu is None:
        raise TargetError(f"QEMU has no machine for board {board.name}")
    outputs: list[NDArray[np.int8] | None] = []
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        begin, end = counted_addresses(elf)
        lines = [f"0x{address:x} {op + 1}\n" for address, op in sorted(markers.calls.items())]
        (folder / "markers").write_text("".join(lines))
        plugin = build_plugin(COUNTER, folder)
        option = (
            f"{plugin},begin=0x{begin:x},end=0x{end:x},"
            f"markers={folder / 'markers'},out={folder / 'counts'}"
        )
        target = QemuTarget(elf, board.qemu, count_instructions=True, options=("-plugin", option))
        with target, Client(target.url, manifest, elf=elf) as client:
            for index, sample in enumerate(samples):
                if labels is None:
                    outputs.append(client.infer(sample))
                else:
                    client.train(sample, labels[index])
                    outputs.append(None)
                if progress is not None:
                    progress(index + 1, len(samples))
            totals = target.instructions()
        sections = (folder / "counts").read_text().split("run\n")[1:]
    runs = []
    for output, section, total in zip(outputs, sections, totals, strict=True):
        blocks = tuple(_block(line, markers) for line in section.splitlines())
        run = Run(output, blocks, total)
        counted = sum(run.by_layer().values())
        if counted != total:
            raise TargetError(f"the layers sum to {counted:,} instructions, of {total:,} executed")
        runs.append(run)
    return runs


def _block(line: str, markers: Markers) -> Block:
    number, address, *counts = line.split()
    start = int(address, 16)
    layer: Layer = int(number) - 1 if int(number) else AROUND
    if markers.generated(start):
        layer = GENERATED
    return Block(layer, start, *map(int, counts))
