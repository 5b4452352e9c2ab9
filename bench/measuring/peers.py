"""Engines from PyPI that a reader can install, on the same counter: bakenn and emlearn."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.measuring.bakenn_copies import EDITS
from bench.measuring.models import samples_for
from tinykit.boards import Board
from tinykit.build.compilers import find_compiler, machine_flags, platform_dir
from tinykit.errors import BuildError, TargetError
from tinykit.importers import load_model
from tinykit.targets.qemu import QemuTarget

PATIENCE = 120.0  # seconds for one inference
FLAGS = ("-O3", "-std=c11", "-ffunction-sections", "-fdata-sections")

MAIN = """
#include "bknn_m.h"
static const int8_t sample[BKNN_M_INPUT_BYTES] = { %s };
static int8_t input[BKNN_M_INPUT_BYTES], output[BKNN_M_OUTPUT_BYTES];
static _Alignas(BKNN_M_ARENA_ALIGNMENT) uint8_t arena[BKNN_M_ARENA_SIZE + 1u];
__attribute__((noinline)) void tk_marker_begin(void) { __asm volatile("" ::: "memory"); }
__attribute__((noinline)) void tk_marker_end(void) { __asm volatile("" ::: "memory"); }
int main(void) {
    for (unsigned i = 0; i < BKNN_M_INPUT_BYTES; i++) {
        input[i] = sample[i];
    }
    tk_marker_begin();
    bknn_m_infer(BKNN_M_ARENA_SIZE ? arena : 0, input, output);
    tk_marker_end();
    for (;;) {
    }
}
"""


@dataclass(frozen=True)
class Peer:
    """What an engine took for a model, or what it says where it does not take it."""

    engine: str
    model: str
    instructions: int | None
    said: str

    def data(self) -> dict[str, Any]:
        """For --json."""
        return vars(self)


def run(
    board: Board, work: Path, models: Mapping[str, Path], say: Callable[[str], None]
) -> list[Peer]:
    """Every engine on every model."""
    return [*_bakenn(board, work / "bakenn", models, say), *_emlearn(models)]


def _emlearn(models: Mapping[str, Path]) -> list[Peer]:
    if find_spec("emlearn") is None:
        return [Peer("emlearn", "all", None, "not installed: pip install emlearn")]
    found = []
    for name, path in models.items():
        script = f"import emlearn; emlearn.convert({str(path)!r})"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
        said = (done.stderr.strip().splitlines() or ["accepted, not measured"])[-1]
        found.append(Peer("emlearn", name, None, f"refuses the file: {said}"))
    return found


def _bakenn(
    board: Board, work: Path, models: Mapping[str, Path], say: Callable[[str], None]
) -> list[Peer]:
    if find_spec("bakenn") is None:
        return [Peer("bakenn", "all", None, "not installed: pip install bakenn")]
    if find_spec("tensorflow") is None:
        said = "its copies are edited with TensorFlow: pip install tensorflow"
        return [Peer("bakenn", "all", None, said)]
    target = board.cpu if board.cpu in ("cortex-m0plus", "cortex-m4") else "portable32"
    command = [sys.executable, "-m", "bench.measuring.bakenn_copies", str(work), target]
    done = subprocess.run(
        [*command, *map(str, models.values())], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it failed"])[-1]
        return [Peer("bakenn", "all", None, said)]
    made = json.loads(done.stdout.splitlines()[-1])
    found = []
    for name, path in models.items():
        for kernels, result in made[path.name].items():
            engine = f"bakenn, {kernels}"
            if "said" in result:
                found.append(Peer(engine, name, None, result["said"]))
                continue
            say(f"{name} by {engine}")
            elf = _link(Path(result["folder"]), board, path)
            count = count_once(elf, board)
            flags = " ".join(FLAGS[:1])
            found.append(Peer(engine, name, count, f"{flags}; on an edited copy: {EDITS}"))
    return found


def _link(folder: Path, board: Board, model: Path) -> Path:
    """bakenn's C with the board support's start-up code and a main() that runs it once."""
    graph = load_model(model)
    shape = graph[graph.inputs[0]].shape
    sample = samples_for(shape)[0].reshape(-1)
    (folder / "main.c").write_text(MAIN % ", ".join(map(str, sample.tolist())))
    return link(folder, board, FLAGS)


def link(folder: Path, board: Board, flags: Sequence[str], more: Sequence[str] = ()) -> Path:
    """The C files of a folder as firmware that counts; `more` are arguments for the linker.

    Raises BuildError.
    """
    support = platform_dir() / "support"
    memory = "".join(
        f"  {name} : ORIGIN = {origin}, LENGTH = {size}\n"
        for name, origin, size in (
            ("FLASH (rx)", board.flash_origin, board.flash_physical),
            ("RAM (rwx)", board.sram_origin, board.sram_physical),
        )
    )
    script = f"MEMORY {{\n{memory}}}\nTK_STACK_SIZE = 16384;\n"
    (folder / "x.ld").write_text(script + (support / "cortexm.ld").read_text())
    compiler = find_compiler()
    if compiler.kind != "gcc":
        raise BuildError("peers are built with GCC", "apt-get install gcc-arm-none-eabi")
    gcc = [f"{compiler.path}gcc", *machine_flags(compiler, board.cpu, board.fpu), *flags]
    no_calls = ["-fno-builtin", "-fno-tree-loop-distribute-patterns"]
    library = [*gcc, *no_calls, "-c", str(support / "memory.c"), "-o", str(folder / "memory.o")]
    includes = {path.parent for path in folder.rglob("*.h")}
    sources = [*folder.rglob("*.c"), support / "startup.c"]
    elf = folder / "x.elf"
    command = [
        *(*gcc, "-nostdlib", f"-T{folder / 'x.ld'}", "-Wl,--gc-sections", "-w", f"-I{support}"),
        *(f"-I{path}" for path in sorted(includes)),
        *(*map(str, sources), str(folder / "memory.o"), *more, "-lgcc", "-o", str(elf)),
    ]
    for one in (library, command):
        done = subprocess.run(one, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{folder.name} does not link: {done.stderr.strip()[-300:]}")
    return elf


def count_once(elf: Path, board: Board) -> int:
    """Instructions of the one inference that the firmware runs."""
    if board.qemu is None:
        raise TargetError(f"QEMU has no machine for board {board.name}")
    with QemuTarget(elf, board.qemu, count_instructions=True) as target:
        host, port = target.url.removeprefix("socket://").split(":")
        with socket.create_connection((host, int(port))):  # QEMU starts with its first client
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until and not target.failure():
                if counts := target.instructions():
                    return counts[0]
                time.sleep(0.05)
    raise TargetError(f"{elf}: no inference within {PATIENCE:.0f} s")
