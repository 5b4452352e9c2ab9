"""The PlatformIO project of one firmware: platformio.ini, the sources, the generated model.

It is complete and can be opened, built and changed without tinykit.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinykit.boards import Board
from tinykit.build.compilers import Compiler, platform_dir
from tinykit.errors import BuildError
from tinykit.resources import resource_path

_INI = """\
; Written by tinykit; `pio run` builds it. Change build_flags here, or [board] in tinykit.toml.
[platformio]
core_dir = .pio/core
boards_dir = boards
build_cache_dir = {cache}
default_envs = {board}

[env:{board}]
platform = symlink://{platform}
framework = tinykit
board = {board}
custom_toolchain = {toolchain}
lib_extra_dirs = {lib}
lib_archive = no
lib_ldf_mode = chain
build_flags =
    -Isrc/model
    -DTK_TRACE={trace}
{flags}
{options}
; without this line a test/ folder would make every build fetch Unity from the registry
test_framework = custom
monitor_speed = {baud}
"""


def user_cache_dir() -> Path:
    """Where tinykit keeps what can be made again: $XDG_CACHE_HOME/tinykit, or ~/.cache/tinykit."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tinykit"


def write_project(
    work: Path,
    generated: Path,
    board: Board,
    compiler: Compiler,
    *,
    trace: bool,
    extra_flags: Sequence[str],
    options: Mapping[str, str],
) -> Path:
    """Writes the project into `work`, touching only files that change; the ELF's path to be."""
    sources = resource_path("firmware") / "src"
    if not sources.is_dir():
        raise BuildError(f"{sources} is missing: this installation of tinykit is not complete")
    if not list(generated.glob("*.c")):
        raise BuildError(f"{generated}: no generated C in this folder", "run `tinykit generate`")
    flags = "\n".join(f"    {flag}" for flag in extra_flags)
    ini = _INI.format(
        board=board.name,
        cache=user_cache_dir() / "objects",
        platform=platform_dir(),
        toolchain=compiler.option,
        lib=resource_path("firmware") / "lib",
        trace=int(trace),
        flags=flags,
        options="\n".join(f"{key} = {value}" for key, value in options.items()),
        baud=board.uart.baud,
    )
    _write(work / "platformio.ini", re.sub(r"\n\n+;", "\n;", ini))
    _mirror([board.manifest], work / "boards", name=f"{board.name}.json")
    _mirror(_c_files(sources), work / "src")
    _mirror(_c_files(generated), work / "src" / "model")
    return work / ".pio" / "build" / board.name / "firmware.elf"


def write_memory(work: Path, board: Board, stack: int) -> None:
    """The sizes of memories and stack that the linker script takes, in bytes."""
    sizes = {"sram": board.sram, "flash": board.flash, "stack": stack}
    _write(work / "memory.json", json.dumps(sizes, indent=1) + "\n")


def read_stack(work: Path) -> int | None:
    """The stack's size of the last build in `work`, None when there was none."""
    try:
        return int(json.loads((work / "memory.json").read_text(encoding="utf-8"))["stack"])
    except (OSError, ValueError, KeyError):
        return None


def _c_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".c", ".h", ".S"))


def _mirror(files: Sequence[Path], folder: Path, name: str = "") -> None:
    """Makes `folder` hold exactly these files (and what else lies in its folders)."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {name or path.name for path in files}
    for stale in folder.iterdir():
        if stale.is_file() and stale.name not in wanted:
            stale.unlink()
    for path in files:
        target = folder / (name or path.name)
        if not target.is_file() or target.read_bytes() != path.read_bytes():
            shutil.copyfile(path, target)


def _write(path: Path, text: str) -> None:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
