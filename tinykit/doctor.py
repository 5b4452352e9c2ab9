"""`tinykit doctor`: what is installed, what is missing, and the command that gets it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_APT = "sudo apt-get install "
_PIP = f"{Path(sys.executable).name} -m pip install "


@dataclass(frozen=True)
class Check:
    """One line of the doctor's list.

    `needed` says what it is for; `required` that nothing is built without it; `found` is its
    version or place ("" when absent); `get` is the command that installs it.
    """

    group: str
    name: str
    needed: str
    found: str
    get: str = ""
    required: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """All checks; `ready` if a model can be turned into firmware and run on an emulator."""

    checks: tuple[Check, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What stands in the way, each with the command that mends it."""
        lines = [
            f"{check.name}: {check.get}"
            for check in self.checks
            if check.required and not check.found
        ]
        if not self._any("cross compiler"):
            lines.append(f"no cross compiler: {_APT}gcc-arm-none-eabi libnewlib-arm-none-eabi")
        if not self._any("emulator"):
            lines.append(f"no emulator: {_PIP}unicorn")
        return tuple(lines)

    def _any(self, group: str) -> bool:
        return any(check.group == group and check.found for check in self.checks)

    @property
    def ready(self) -> bool:
        return not self.problems


def diagnose() -> Diagnosis:
    """Look at this machine. Takes about a second; imports none of the packages it looks for."""
    return Diagnosis((*_core(), *_compilers(), *_emulators(), *_model_tools(), *_boards()))


def _core() -> tuple[Check, ...]:
    python = Check("core", "Python", "everything", platform.python_version(), required=True)
    return (
        python,
        _package("core", "platformio", "building firmware", required=True),
        _package("core", "scons", "building firmware without PlatformIO's registry", required=True),
        _package("core", "pyserial", "talking to boards and emulators", required=True),
        Check(
            "core", "gcc (host)", "the reference that devices must equal",
            _version(os.environ.get("CC") or "gcc"), f"{_APT}gcc libc6-dev", required=True,
        ),
    )  # fmt: skip


def _compilers() -> tuple[Check, ...]:
    group = "cross compiler"
    packaged = _platformio_package("toolchain-gccarmnoneeabi", "bin/arm-none-eabi-gcc")
    return (
        Check(
            group, "arm-none-eabi-gcc", "firmware (the default)", _version("arm-none-eabi-gcc"),
            f"{_APT}gcc-arm-none-eabi libnewlib-arm-none-eabi",
        ),
        Check(
            group, "toolchain-gccarmnoneeabi", "firmware (PlatformIO's own gcc)", packaged,
            "pio pkg install --global --tool platformio/toolchain-gccarmnoneeabi",
        ),
        _package(group, "ziglang", "firmware (clang, from pip)", "'tinykit-mcu[zig]'"),
    )  # fmt: skip


def _emulators() -> tuple[Check, ...]:
    group = "emulator"
    return (
        _package(group, "unicorn", "target unicorn (the default)"),
        Check(
            group, "qemu-system-arm", "target qemu: fastest, and the M55",
            _version("qemu-system-arm"), f"{_APT}qemu-system-arm",
        ),
        Check(
            group, "renode", "target renode: whole boards", _renode(),
            "set RENODE=/path/to/renode after installing it from renode.io",
        ),
    )  # fmt: skip


def _model_tools() -> tuple[Check, ...]:
    group = "models"
    reference = "tflite-runtime" if sys.version_info < (3, 12) else "ai-edge-litert"
    return (
        _package(group, "tensorflow", "Keras models, quantize", "'tinykit-mcu[tensorflow]'"),
        _package(group, reference, "a second opinion on inference", "'tinykit-mcu[runtime]'"),
        _package(group, "tflite-micro", "the golden reference of the tests", "'tinykit-mcu[dev]'"),
        _package(group, "matplotlib", "pictures", "'tinykit-mcu[plot]'"),
        _package(group, "tensorboardX", "train --log", "'tinykit-mcu[tensorboard]'"),
    )


def _boards() -> tuple[Check, ...]:
    ports = ", ".join(_serial_ports())
    return (
        _package("boards", "pyocd", "tinykit flash through a probe", "'tinykit-mcu[flash]'"),
        Check("boards", "serial ports", "target serial", ports, "connect a board by USB"),
    )


def _package(
    group: str, name: str, needed: str, install: str = "", *, required: bool = False
) -> Check:
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found = ""
    return Check(group, name, needed, found, _PIP + (install or name), required)


def _version(program: str) -> str:
    """The first line of `program --version`, "" when it isn't there or doesn't run."""
    if shutil.which(program) is None:
        return ""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.splitlines() or ["installed"])[0].strip()


def _platformio_package(name: str, program: str) -> str:
    core = Path(os.environ.get("PLATFORMIO_CORE_DIR", Path.home() / ".platformio"))
    path = core / "packages" / name / program
    return str(path) if path.is_file() else ""


def _renode() -> str:
    named = os.environ.get("RENODE", "")
    found = shutil.which(named) if named else shutil.which("renode")
    return found or _platformio_package("tool-renode", "renode")


def _serial_ports() -> list[str]:
    try:
        from serial.tools import list_ports
    except ImportError:
        return []
    return [f"{port.device} ({port.description})" for port in list_ports.comports() if port.vid]
