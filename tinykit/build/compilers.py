"""The compiler that builds firmware: found by the platform's own rules, and named for tables."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Literal

from tinykit.errors import BuildError
from tinykit.resources import resource_path


@dataclass(frozen=True)
class Compiler:
    """`kind` says which; `path` is GCC's prefix or zig's executable; `id` names the version whose
    code sizes a table knows, e.g. "gcc-12.2" or "zig-0.17"."""

    kind: Literal["gcc", "zig"]
    path: str
    id: str

    @property
    def option(self) -> str:
        """custom_toolchain in platformio.ini."""
        return "zig" if self.kind == "zig" else self.path


def platform_dir() -> Path:
    """The PlatformIO platform of this installation."""
    return resource_path("firmware") / "platform" / "tinykit-cortexm"


def find_compiler(wanted: str = "") -> Compiler:
    """The compiler for Cortex-M, `wanted` being a prefix, "zig" or "" for the first that is found.

    Raises BuildError, with the commands that get one, when there is none.
    """
    kind, found = _platform_module().find_compiler(wanted)
    if kind is None:
        message, _, hint = str(found).partition("; ")
        raise BuildError(message, hint)
    return Compiler(kind, str(found), f"{kind}-{_version(kind, str(found))}")


def machine_flags(compiler: Compiler, cpu: str, fpu: str) -> list[str]:
    """What tells a compiler the core; `cpu` and `fpu` are GCC's names."""
    return list(_platform_module().machine_flags(compiler.kind, cpu, fpu))


def _platform_module() -> ModuleType:
    """builder/compiler.py of the platform, which has the rules."""
    path = platform_dir() / "builder" / "compiler.py"
    spec = importlib.util.spec_from_file_location("tinykit_platform_compiler", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise BuildError(f"{path}: this installation of tinykit is not complete")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def _version(kind: str, path: str) -> str:
    """Major and minor version: what decides the code that comes out."""
    command = [path, "version"] if kind == "zig" else [path + "gcc", "-dumpfullversion"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"the compiler does not run: {' '.join(command)}: {error}") from error
    match = re.match(r"\d+\.\d+", done.stdout)
    if not match:
        raise BuildError(f"`{' '.join(command)}` printed no version: {done.stdout[:80]!r}")
    return match[0]
