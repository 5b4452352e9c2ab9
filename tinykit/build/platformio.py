"""Runs PlatformIO on a firmware project, and says in one line what went wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tinykit.errors import BuildError, DoesNotFitError

LOG = "build.log"
TIMEOUT = 900  # seconds

# No look for updates, no telemetry: a build makes no network call of its own.
_ENVIRONMENT = {
    "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
    "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
    "PLATFORMIO_NO_ANSI": "true",
    "PLATFORMIO_DISABLE_PROGRESSBAR": "true",
}


def run_platformio(project: Path, progress: Callable[[str], None] | None = None) -> None:
    """Builds the project in `project`; the whole output is kept in build.log there.

    Raises BuildError with the first error, or DoesNotFitError when the linker ran out of memory.
    """
    command = [sys.executable, "-m", "platformio", "run", "--project-dir", str(project)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PLATFORMIO_")}
    log = project / LOG
    try:
        with (
            log.open("w", encoding="utf-8") as out,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**environment, **_ENVIRONMENT},
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                out.write(line)
                if progress and line.startswith(("Compiling", "Linking")):
                    progress(line.strip())
            code = process.wait(TIMEOUT)
    except OSError as error:
        raise BuildError(f"PlatformIO does not start: {error}") from error
    except subprocess.TimeoutExpired:
        process.kill()
        raise BuildError(f"PlatformIO did not finish within {TIMEOUT} s", f"see {log}") from None
    if code != 0:
        raise explain(log.read_text(encoding="utf-8", errors="replace"), log)


_OVERFLOW = re.compile(
    r"region `?'?(FLASH|RAM)'? overflowed by (\d+) bytes"
    r"|will not fit in region '(FLASH|RAM)': overflowed by (\d+) bytes"
)
_COMPILER = re.compile(r"^(\S[^:\n]*):(\d+):(?:\d+:)? (?:fatal )?error: (.+)$", re.MULTILINE)
_UNDEFINED = re.compile(r"undefined (?:reference to|symbol:) [`']?([\w.]+)'?")
_GENERAL = re.compile(r"^(?:\S*ld\S*: |collect2: )?(?:error|Error): (.+)$", re.MULTILINE)


def explain(output: str, log: Path) -> BuildError | DoesNotFitError:
    """What a failed build's output means, in one line; `log` is where all of it is."""
    hint = f"the whole output is in {log}"
    overflows = [(m[1] or m[3], int(m[2] or m[4])) for m in _OVERFLOW.finditer(output)]
    if overflows:
        region, size = max(overflows, key=lambda o: o[1])
        memory = "flash" if region == "FLASH" else "SRAM"
        return DoesNotFitError(
            f"the firmware needs {size:,} B more {memory} than the board has", hint
        )
    if match := _COMPILER.search(output):
        return BuildError(f"{match[1]}:{match[2]}: {match[3]}", hint)
    if match := _UNDEFINED.search(output):
        return BuildError(f"the linker does not find `{match[1]}`", hint)
    if "no compiler for Cortex-M" in output or "No module named platformio" in output:
        line = next(
            x for x in output.splitlines() if "no compiler for" in x or "No module named" in x
        )
        return BuildError(line.removeprefix("error: ").strip(), hint)
    if match := _GENERAL.search(output):
        return BuildError(match[1].strip(), hint)
    last = next((x for x in reversed(output.splitlines()) if x.strip()), "no output")
    return BuildError(f"PlatformIO failed: {last.strip()}", hint)
