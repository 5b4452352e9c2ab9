"""Boards: what a manifest in boards/*.json says about one.

A manifest is a PlatformIO board manifest; tinykit's own keys are under "tinykit". `sram` and
`flash` are budgets: what the firmware may use, which for an emulated board is less than the machine
has. The linker enforces them.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinykit.errors import UsageError
from tinykit.resources import resource_path


@dataclass(frozen=True)
class Uart:
    """The serial port: `type` is "cmsdk", "stm32v1" (SR/DR) or "stm32v2" (ISR/RDR/TDR)."""

    type: str
    base: int
    irq: int
    baud: int


@dataclass(frozen=True)
class Renode:
    """What Renode loads: a platform description, and the serial port's name in it."""

    platform: str
    uart: str


@dataclass(frozen=True)
class Board:
    """One board. Memory sizes in bytes.

    `cpu` and `fpu` are GCC's -mcpu and -mfpu ("" without an FPU). `qemu` is a machine name,
    `unicorn` a CPU ("m3", "m4", "m7", "m33"), `pyocd` a target type; None where it cannot be used.
    `dwt` says whether the cycle counter counts on the real part.
    """

    name: str
    title: str
    core: str
    cpu: str
    fpu: str
    sram: int
    flash: int
    sram_origin: int
    flash_origin: int
    sram_physical: int
    flash_physical: int
    uart: Uart
    qemu: str | None
    unicorn: str | None
    renode: Renode | None
    pyocd: str | None
    dwt: bool
    notes: str
    manifest: Path

    def __post_init__(self) -> None:
        for what, size, physical in (
            ("SRAM", self.sram, self.sram_physical),
            ("flash", self.flash, self.flash_physical),
        ):
            if not 0 < size <= physical:
                raise UsageError(
                    f"board {self.name}: a budget of {size:,} B of {what} is not possible",
                    f"give 1 to {physical:,} B",
                )

    @property
    def emulated(self) -> bool:
        """True for a board that exists only in emulators."""
        return self.pyocd is None


def boards_dir() -> Path:
    """The folder with the manifests of this installation."""
    return resource_path("boards")


def list_boards() -> list[Board]:
    """All boards, by name."""
    return [_read(path) for path in sorted(boards_dir().glob("*.json"))]


def load_board(name: str) -> Board:
    """A board by its name ("mps2_an386", "mps2-an386"), or from a manifest's path (….json).

    Raises UsageError, naming the nearest board, when there is none.
    """
    if name.endswith(".json"):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"{name}: no such board manifest")
        return _read(path)
    known = {path.stem: path for path in boards_dir().glob("*.json")}
    key = name.strip().lower().replace("-", "_")
    if key in known:
        return _read(known[key])
    near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.4)
    hint = f"did you mean `{near[0]}`? " if near else ""
    raise UsageError(f"there is no board `{name}`", f"{hint}boards: {', '.join(sorted(known))}")


def _read(path: Path) -> Board:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a board manifest ({error})") from error
    try:
        return _board(path, data)
    except KeyError as error:
        raise UsageError(f"{path}: the key {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None


def _board(path: Path, data: dict[str, Any]) -> Board:
    own, build = data["tinykit"], data["build"]
    uart = own["uart"]
    renode = own.get("renode")
    description = path.parent / "renode" / renode["platform"] if renode else path
    return Board(
        name=path.stem,
        title=str(data["name"]),
        core=str(own["core"]),
        cpu=str(build["cpu"]),
        fpu=str(build.get("fpu", "")),
        sram=int(own["sram"]["bytes"]),
        flash=int(own["flash"]["bytes"]),
        sram_origin=int(own["sram"]["origin"], 0),
        flash_origin=int(own["flash"]["origin"], 0),
        sram_physical=int(own["sram"].get("physical", own["sram"]["bytes"])),
        flash_physical=int(own["flash"].get("physical", own["flash"]["bytes"])),
        uart=Uart(str(uart["type"]), int(uart["base"], 0), int(uart["irq"]), int(uart["baud"])),
        qemu=own.get("qemu"),
        unicorn=own.get("unicorn"),
        renode=renode
        and Renode(
            str(description) if description.is_file() else str(renode["platform"]),
            str(renode["uart"]),
        ),
        pyocd=own.get("pyocd"),
        dwt=bool(own.get("dwt", False)),
        notes=str(own.get("notes", "")),
        manifest=path,
    )
