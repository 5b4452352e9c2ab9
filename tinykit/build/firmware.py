"""From generated C to an ELF whose every byte is accounted for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinykit.boards import Board
from tinykit.build.bounds import check_fit, is_measured
from tinykit.build.compilers import Compiler, find_compiler
from tinykit.build.image import read_image
from tinykit.build.platformio import run_platformio
from tinykit.build.project import read_stack, write_memory, write_project
from tinykit.build.size import SizeReport, measure
from tinykit.build.stack import StackBound, stack_bound
from tinykit.codegen.manifest import Manifest
from tinykit.errors import BuildError

FIRST_STACK = 4096  # bytes of the first link, when no bound is known yet


@dataclass(frozen=True)
class Firmware:
    """Linked firmware: where it is, where its bytes go, and how its stack was bounded."""

    elf: Path
    report: SizeReport
    stack: StackBound
    compiler: Compiler
    log: Path


def build_firmware(
    generated: Path,
    board: Board,
    work: Path,
    *,
    trace: bool = True,
    extra_flags: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
    toolchain: str = "",
    check: bool = True,
    settle: bool = True,
    keep_all: bool = False,
) -> Firmware:
    """Compiles and links what `tinykit generate` wrote into `generated`, for `board`.

    `work` becomes a PlatformIO project (one per board and model: two builds in the same folder must
    not run at once). `trace` adds the running checksum over layers that `verify` uses. `toolchain`
    is a GCC prefix or "zig"; empty for the first that is found. `check` refuses a model that does
    not fit before the compiler runs. For measuring: `settle` off leaves the stack at FIRST_STACK,
    `keep_all` links functions that nobody calls, too.

    The stack section is exactly as large as the bound computed from the machine code: a first build
    links with the bound known before and then once more, later builds once.

    Raises DoesNotFitError, BuildError (one line each; the whole output is in work/build.log).
    """
    manifest = Manifest.load(generated)
    if manifest.input_rows:
        raise BuildError(
            f"{manifest.name} takes its input row by row, and the link needs a whole input",
            "leave out [model] input_rows, or use the generated C in firmware of your own",
        )
    compiler = find_compiler(toolchain)
    bounds = check_fit(manifest, board, compiler.id, trace).bounds if check else None
    work = work.absolute()
    options = {"custom_keep_all": "yes"} if keep_all else {}
    if not is_measured(compiler.id):
        options["custom_warnings"] = "allow"  # new compilers have new warnings: no reason to fail
    elf = write_project(
        work, generated, board, compiler, trace=trace, extra_flags=extra_flags, options=options
    )
    planned = read_stack(work) or (bounds.stack if bounds else FIRST_STACK)
    for _ in range(2):
        write_memory(work, board, planned)
        run_platformio(work, progress)
        bound = stack_bound(read_image(elf), bool(board.fpu))
        if bound.total == planned or not settle:
            break
        planned = bound.total
    else:
        raise BuildError(f"{elf}: the stack's size did not settle", "remove the folder and build")
    report = measure(
        elf,
        manifest.symbols,
        {"sram": manifest.memory.sram, "flash": manifest.memory.flash},
        (board.sram, board.flash),
        compiler.id,
        bounds,
    )
    return Firmware(elf, report, bound, compiler, work / "build.log")
