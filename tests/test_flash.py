"""Flashing: pyOCD is called as its manual says, and what it answers is explained."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tinykit.errors import TargetError, UsageError
from tinykit.flash import binary_image, flash_to_drive, flash_with_probe


@dataclass(frozen=True)
class FakeBoard:
    """What flash needs to know of a board."""

    name: str
    pyocd: str | None


REAL: Any = FakeBoard("stm32f746", "stm32f746ngtx")
EMULATED: Any = FakeBoard("mps2-an386", None)


def _install_fake_pyocd(folder: Path, monkeypatch: pytest.MonkeyPatch, message: str = "") -> Path:
    """A package pyocd that records how it was called, and fails if it has something to say."""
    log = folder / "called.json"
    package = folder / "pyocd"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        f"import json, sys\njson.dump(sys.argv[1:], open({str(log)!r}, 'w'))\n"
        f"sys.exit({message!r} or 0)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    return log


def test_probe_gets_target_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = _install_fake_pyocd(tmp_path, monkeypatch)
    flash_with_probe(tmp_path / "firmware.elf", REAL, probe="0671")
    arguments = json.loads(log.read_text())
    assert arguments[:4] == ["load", "--no-wait", "--target", "stm32f746ngtx"]
    assert arguments[4:] == ["--uid", "0671", str(tmp_path / "firmware.elf")]


@pytest.mark.parametrize(
    ("message", "error", "hint"),
    [
        ("0001 C No available debug probes are connected", "no debug probe", "USB"),
        ("C Target type stm32f746ngtx not recognized. Use…", "does not know", "pyocd pack install"),
        ("E flash program page failure", "flash program page failure", "pyocd list"),
    ],
)
def test_failures_are_explained(
    message: str, error: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install_fake_pyocd(tmp_path, monkeypatch, message)
    with pytest.raises(TargetError, match=error) as caught:
        flash_with_probe(tmp_path / "firmware.elf", REAL)
    assert hint in caught.value.hint


def test_emulated_boards_are_not_flashed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only in emulators"):
        flash_with_probe(tmp_path / "firmware.elf", EMULATED)


def test_without_pyocd_the_way_to_get_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TargetError, match="not installed") as caught:
        flash_with_probe(tmp_path / "firmware.elf", REAL)
    assert "tinykit-mcu[flash]" in caught.value.hint


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linked image with code, constants, a gap and initialised data loaded from flash."""
    if not shutil.which("arm-none-eabi-gcc"):
        pytest.skip("arm-none-eabi-gcc is not installed")
    folder = tmp_path_factory.mktemp("elf")
    (folder / "a.c").write_text(
        "int data[3] = {1, 2, 3};\n"
        'const int table[2] __attribute__((section(".far"))) = {4, 5};\n'
        "int bss[9];\nint main(void) { return data[0] + table[1] + bss[0]; }\n"
    )
    (folder / "a.ld").write_text(
        "MEMORY { FLASH (rx): ORIGIN = 0x08000000, LENGTH = 64K\n"
        "         RAM (rwx): ORIGIN = 0x20000000, LENGTH = 64K }\n"
        "SECTIONS { .text : { *(.text*) } > FLASH\n"
        "  .far 0x08000400 : { KEEP(*(.far)) } > FLASH\n"
        "  .data : { *(.data*) } > RAM AT > FLASH\n  .bss : { *(.bss*) } > RAM }\n"
    )
    subprocess.run(
        ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-nostdlib", "-T", "a.ld", "-Wl,-e,main", "a.c",
         "-o", "a.elf"],
        cwd=folder, check=True,
    )  # fmt: skip
    return folder / "a.elf"


def test_image_equals_objcopys(elf: Path) -> None:
    expected = elf.with_suffix(".bin")
    subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", elf, expected], check=True)
    assert binary_image(elf) == expected.read_bytes()


def test_drive_receives_the_image(elf: Path, tmp_path: Path) -> None:
    flash_to_drive(elf, tmp_path)
    assert (tmp_path / "firmware.bin").read_bytes() == binary_image(elf)
    with pytest.raises(UsageError, match="not a folder"):
        flash_to_drive(elf, tmp_path / "unmounted")


def test_a_file_that_is_no_elf_is_an_error_line(tmp_path: Path) -> None:
    (tmp_path / "a.elf").write_bytes(b"not an ELF")
    with pytest.raises(UsageError, match=r"a\.elf"):
        binary_image(tmp_path / "a.elf")
    with pytest.raises(UsageError, match="no such file"):
        binary_image(tmp_path / "none.elf")
