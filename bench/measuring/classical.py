"""Estimators of scikit-learn as C by tinykit and by emlearn, in one and the same program.

The program puts one sample into place and calls the model between the two markers that QEMU counts
between.  Both are compiled with the same flags; flash and SRAM (without the stack) are what the ELF
has more than the ELF of a program without a model, one sample included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray

from bench.measuring.peers import count_once, link
from tinykit.boards import Board
from tinykit.build.compilers import find_compiler, machine_flags
from tinykit.codegen.generate import compile_model, write
from tinykit.compress.classical import classes_of, int8_outputs
from tinykit.data import Samples, codings
from tinykit.errors import BuildError, TinykitError
from tinykit.importers.sklearn import load_sklearn
from tinykit.resources import resource_path

FLAGS = ("-O2", "-std=c11", "-ffunction-sections", "-fdata-sections")
LIBRARIES = ("-Wl,--start-group", "-lm", "-lc", "-lgcc", "-Wl,--end-group")
Reals = NDArray[np.float32]

MAIN = """
{include}
{globals}
static const {type} sample[{count}] = {{ {values} }};
volatile int result;
__attribute__((noinline)) void tk_marker_begin(void) {{ __asm volatile("" ::: "memory"); }}
__attribute__((noinline)) void tk_marker_end(void) {{ __asm volatile("" ::: "memory"); }}
int main(void) {{
    {before}
    tk_marker_begin();
    result = {call};
    tk_marker_end();
    for (;;) {{
    }}
}}
"""


@dataclass(frozen=True)
class Task:
    """An estimator, fitted, and what it is tested on; `options` are emlearn's, None: not for it.

    call, type, globals: of emlearn's C; {count} are features, {items} rows that were fitted.
    """

    name: str
    estimator: Any
    fit_x: Reals
    x: Reals
    y: NDArray[np.int64]
    emlearn: Mapping[str, dict[str, Any]]
    call: str = "m_predict(sample, {count})"
    type: str = "int16_t"
    globals: str = ""


@dataclass(frozen=True)
class Measured:
    """One engine on one task; said: why there are no numbers."""

    task: str
    engine: str
    accuracy: float | None = None
    flash: int | None = None
    sram: int | None = None
    instructions: int | None = None
    said: str = ""

    def data(self) -> dict[str, Any]:
        """For --json."""
        return vars(self)


def measure(task: Task, board: Board, work: Path, say: Callable[[str], None]) -> list[Measured]:
    """scikit-learn, tinykit, and emlearn in each of its ways. Raises BuildError, TargetError."""
    right = float(np.mean(task.estimator.predict(task.x) == task.y))
    found = [Measured(task.name, "scikit-learn, float", right)]
    say(f"{task.name} by tinykit")
    found.append(_ours(task, board, work / "tinykit"))
    for way, options in task.emlearn.items():
        say(f"{task.name} by emlearn, {way}")
        try:
            found.append(_emlearn(task, way, options, board, work / f"emlearn-{way}"))
        except TinykitError as error:
            found.append(Measured(task.name, f"emlearn, {way}", said=error.message))
    return found


def _ours(task: Task, board: Board, work: Path) -> Measured:
    graph = load_sklearn(task.estimator, task.fit_x)
    accuracy = float(np.mean(classes_of(graph, int8_outputs(graph, task.x)) == task.y))
    write(compile_model(graph, name="m"), work)
    (work / "tinykit_model.h").unlink()
    sample = Samples(task.x[:1], None, "").quantized(codings(graph)).reshape(-1)
    library = _library(board, work.parents[1] / f"runtime-{board.name}")
    include = resource_path("firmware") / "lib" / "tinykit" / "include"
    before = "for (unsigned i = 0; i < sizeof sample; i++) { m_input()[i] = sample[i]; }"
    program = _program("int8_t", sample, before, "m_infer()[0]")
    sizes, count = _run(work, program, board, (f"-I{include}", str(library)))
    return Measured(task.name, "tinykit", accuracy, *sizes, count)


def _emlearn(task: Task, way: str, options: dict[str, Any], board: Board, work: Path) -> Measured:
    if find_spec("emlearn") is None:
        raise TinykitError("not installed: pip install emlearn")
    work.mkdir(parents=True, exist_ok=True)
    joblib.dump(task.estimator, work / "estimator.joblib")
    np.save(work / "x.npy", task.x)
    (work / "options.json").write_text(json.dumps(options))
    command = [sys.executable, "-m", "bench.measuring.emlearn_models", str(work)]
    scratch = work.with_name(f"{work.name}-scratch")
    scratch.mkdir(exist_ok=True)
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        command,
        cwd=scratch,  # where emlearn leaves programs of its own behind
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError((done.stderr.strip().splitlines() or ["it failed"])[-1][:200])
    accuracy = float(np.mean(np.load(work / "predictions.npy").reshape(-1) == task.y))
    sample = task.x[0] if task.type == "float" else np.rint(task.x[0]).astype(np.int16)
    call, variables = (
        text.format(count=len(sample), items=len(task.fit_x)) for text in (task.call, task.globals)
    )
    program = _program(task.type, sample, "", call, variables)
    found = find_spec("emlearn")  # not imported here: it makes NumPy raise on underflow
    assert found is not None
    assert found.origin is not None
    headers = Path(found.origin).parent
    sizes, count = _run(work, program, board, (f"-I{headers}", *LIBRARIES))
    return Measured(task.name, f"emlearn, {way}", accuracy, *sizes, count)


def _program(
    kind: str, sample: NDArray[Any], before: str, call: str, variables: str = "", model: bool = True
) -> str:
    return MAIN.format(
        include='#include "m.h"' if model else "#include <stdint.h>",
        globals=variables,
        type=kind,
        count=len(sample),
        values=", ".join(map(str, sample.tolist())),
        before=before,
        call=call,
    )


def _run(
    work: Path, program: str, board: Board, more: tuple[str, ...]
) -> tuple[tuple[int, int], int]:
    """((flash, SRAM) of the model in bytes, instructions of one inference)."""
    (work / "main.c").write_text(program)
    elf = link(work, board, FLAGS, more)
    flash, sram = _sizes(elf)
    bare = work.with_name(f"{work.name}-bare")
    bare.mkdir(exist_ok=True)
    nothing = np.zeros(1, np.int8)
    (bare / "main.c").write_text(_program("int8_t", nothing, "", "sample[0]", model=False))
    least = _sizes(link(bare, board, FLAGS))
    return (flash - least[0], sram - least[1]), count_once(elf, board)


def _sizes(elf: Path) -> tuple[int, int]:
    """(flash, SRAM) of what is loaded and what is reserved."""
    flash = sram = 0
    with elf.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if not section["sh_flags"] & SH_FLAGS.SHF_ALLOC:
                continue
            loaded = section["sh_type"] != "SHT_NOBITS"
            flash += section["sh_size"] if loaded else 0
            sram += section["sh_size"] if section["sh_flags"] & SH_FLAGS.SHF_WRITE else 0
    return flash, sram


def _library(board: Board, folder: Path) -> Path:
    """The runtime as an archive, compiled once for a board."""
    archive = folder / "libtinykit.a"
    if archive.exists():
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    compiler = find_compiler()
    if compiler.kind != "gcc":
        raise BuildError("peers are built with GCC", "apt-get install gcc-arm-none-eabi")
    root = resource_path("firmware") / "lib" / "tinykit"
    sources = [path for kind in ("c", "S") for path in sorted((root / "src").glob(f"*.{kind}"))]
    flags = [*machine_flags(compiler, board.cpu, board.fpu), *FLAGS, f"-I{root / 'include'}"]
    commands = [
        [f"{compiler.path}gcc", *flags, "-c", str(source), "-o", str(folder / f"{source.name}.o")]
        for source in sources
    ]
    commands.append(
        [f"{compiler.path}ar", "rcs", str(archive), *(str(folder / f"{s.name}.o") for s in sources)]
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"the runtime does not compile: {done.stderr.strip()[-300:]}")
    return archive
