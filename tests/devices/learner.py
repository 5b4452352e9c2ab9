"""A small generated model that learns, and its firmware for real boards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from elftools.elf.elffile import ELFFile

from tests.support.networks import Network
from tinykit.boards import Board, load_board
from tinykit.build import build_firmware
from tinykit.codegen import generate
from tinykit.codegen.manifest import Manifest
from tinykit.training.plan import Plan

CLASSES = 4
PLAN = {
    "optimizer": {"learning_rate": 0.05},
    "update": [
        {"layers": "last 2", "bias": True},
        {"layers": "head", "bias": True, "weights": 1.0},
    ],
}


@dataclass(frozen=True)
class Learner:
    """Generated code, and samples [n, 1, 12, 12, 3] int8 with labels."""

    generated: Path
    manifest: Manifest
    samples: np.ndarray
    labels: np.ndarray

    def firmware(self, board: str, work: Path, *, trace: bool = True) -> tuple[Path, Board]:
        """The ELF file for a board, built in `work`."""
        chosen = load_board(board)
        return build_firmware(self.generated, chosen, work, trace=trace).elf, chosen


def make_learner(folder: Path, *, trains: bool = True, name: str = "learner") -> Learner:
    """A residual network with a depthwise layer; biases of two layers and the head learn."""
    network = Network((1, 12, 12, 3), seed=4)
    first = network.conv("x", 8, stride=(2, 2))
    middle = network.conv(network.depthwise(first), 8, (1, 1), activation="none")
    features = network.mean(network.add(first, middle))
    graph = network.graph(network.softmax(network.dense(features, CLASSES)), name)
    samples = network.inputs(16)
    labels = np.arange(16) % CLASSES
    plan = Plan.model_validate(PLAN) if trains else None
    manifest = generate(
        graph, folder, name=name, plan=plan, samples=samples, labels=labels.tolist()
    )
    return Learner(folder, manifest, samples, labels)


def flip(elf: Path, symbol: str, at: int, out: Path, mask: int = 0x40) -> Path:
    """A copy of `elf` with bits of one byte of a constant turned over."""
    data = bytearray(elf.read_bytes())
    with elf.open("rb") as file:
        image = ELFFile(file)
        (found,) = image.get_section_by_name(".symtab").get_symbol_by_name(symbol)
        section = image.get_section(found["st_shndx"])
        assert at < found["st_size"]
        offset = section["sh_offset"] + found["st_value"] - section["sh_addr"] + at
    data[offset] ^= mask
    out.write_bytes(data)
    return out
