"""The C runtime compiled for this machine, once for each compiler, flags and text."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tinykit.build.project import user_cache_dir
from tinykit.errors import BuildError
from tinykit.resources import resource_path


def runtime_dir() -> Path:
    """Where the runtime's include/ and src/ lie."""
    return resource_path("firmware") / "lib" / "tinykit"


@cache
def runtime_digest() -> str:
    """Of every header and source; read once in a process."""
    digest = hashlib.sha256()
    for path in sorted(runtime_dir().rglob("*.[ch]")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def runtime_objects(compiler: Sequence[str], flags: Sequence[str]) -> list[Path]:
    """Objects to link with a model, from the user's cache. Raises BuildError."""
    facts = (_version(tuple(compiler)), list(flags), runtime_digest())
    digest = hashlib.sha256(repr(facts).encode())
    folder = user_cache_dir() / "host" / digest.hexdigest()[:16]
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as work:
                made = Path(work) / "objects"
                made.mkdir()
                _compile(compiler, flags, made)
                if not folder.is_dir():  # another process may have been faster
                    os.rename(made, folder)
        except OSError as error:
            if not folder.is_dir():
                raise BuildError(
                    f"{folder.parent}: cannot keep the host's runtime: {error.strerror}",
                    "make room there, or name another place in XDG_CACHE_HOME",
                ) from None
    return sorted(folder.glob("*.o"))


@cache
def _version(compiler: tuple[str, ...]) -> str:
    """What a compiler says of itself, and how it is called."""
    command = [*compiler, "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{compiler} {result.stdout}"


def _compile(compiler: Sequence[str], flags: Sequence[str], folder: Path) -> None:
    sources = sorted((runtime_dir() / "src").glob("*.c"))
    command = [*compiler, *flags, f"-I{runtime_dir() / 'include'}", "-c", *map(str, sources)]
    run_compiler(command, folder)


def run_compiler(command: Sequence[str], folder: Path | None = None) -> None:
    """Raises BuildError with the compiler's first complaint."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        first = next((x for x in result.stderr.splitlines() if "error" in x), "compiler failed")
        raise BuildError(f"host reference: {first}")
