"""Projects and their failures: one line each, and nothing compiled that cannot fit."""

from __future__ import annotations

import os
import shutil
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.build.conftest import Build
from tests.devices.learner import Learner
from tinykit.boards import load_board
from tinykit.build import build_firmware
from tinykit.build.compilers import find_compiler, platform_dir
from tinykit.build.platformio import explain
from tinykit.errors import BuildError, DoesNotFitError

LOG = Path("build.log")


def test_second_build_is_fast_and_changes_nothing(
    learner: Learner, tmp_path: Path, build: Build
) -> None:
    build()  # warms the cache of objects
    board = load_board("mps2_an386")
    work = tmp_path / "a folder of mine"  # spaces are no trouble
    first = build_firmware(learner.generated, board, work)
    stamp = first.elf.stat().st_mtime_ns
    start = time.monotonic()
    second = build_firmware(learner.generated, board, work)
    assert time.monotonic() - start < 10  # measured: 1.6 s; one compilation more would not show
    assert second.elf.stat().st_mtime_ns == stamp
    assert second.report == first.report


def test_project_is_complete_without_tinykit(build: Build) -> None:
    work = build().elf.parents[3]
    assert (work / "platformio.ini").is_file()
    assert (work / "boards" / "mps2_an386.json").is_file()
    assert (work / "src" / "main.c").is_file()
    assert (work / "src" / "model" / "tinykit_model.h").is_file()
    assert (work / "build.log").read_text().count("SUCCESS") == 1


def test_stack_overflow_leaves_ram(build: Build) -> None:
    """The stack is the lowest section of RAM."""
    from tinykit.build.image import read_image

    image, board = read_image(build().elf), load_board("mps2_an386")
    assert image.sections[".stack"].address == board.sram_origin
    assert image.address_of("tk_stack_bottom") == board.sram_origin


def test_too_large_is_refused_before_the_compiler_runs(learner: Learner, tmp_path: Path) -> None:
    board = replace(load_board("mps2_an386"), sram=2048)
    with pytest.raises(DoesNotFitError, match=r"of 2,048 B of SRAM .*too many"):
        build_firmware(learner.generated, board, tmp_path)
    assert not (tmp_path / "build.log").exists()


def test_linker_enforces_the_budget(learner: Learner, tmp_path: Path) -> None:
    board = replace(load_board("mps2_an386"), sram=2048)
    with pytest.raises(DoesNotFitError, match="more SRAM than the board has"):
        build_firmware(learner.generated, board, tmp_path, check=False)


def test_compiler_error_is_one_line_and_names_the_log(learner: Learner, tmp_path: Path) -> None:
    broken = tmp_path / "generated"
    shutil.copytree(learner.generated, broken)
    source = next(broken.glob("*.c"))
    source.write_text(source.read_text() + "\nint broken(void) { return undeclared; }\n")
    with pytest.raises(BuildError, match=r"\.c:\d+: .*undeclared") as caught:
        build_firmware(broken, load_board("mps2_an386"), tmp_path / "work")
    assert "\n" not in caught.value.message
    assert str(tmp_path / "work" / "build.log") in caught.value.hint


def test_no_generated_code(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"model\.json"):
        build_firmware(tmp_path, load_board("mps2_an386"), tmp_path / "work")


@pytest.mark.parametrize(
    ("output", "kind", "message"),
    [
        (
            "ld: firmware.elf section `.bss' will not fit in region `RAM'\n"
            "ld: region `RAM' overflowed by 1234 bytes\n",
            DoesNotFitError,
            "1,234 B more SRAM",
        ),
        (
            "ld.lld: error: section '.text' will not fit in region 'FLASH': "
            "overflowed by 99 bytes\n",
            DoesNotFitError,
            "99 B more flash",
        ),
        ("a.c:3:5: error: no such thing\nmore\n", BuildError, "a.c:3: no such thing"),
        ("a.c:1:10: fatal error: x.h: No such file\n", BuildError, "a.c:1: x.h: No such file"),
        ("ld: a.o: undefined reference to `tk_gone'\n", BuildError, "does not find `tk_gone`"),
        ("ld.lld: error: undefined symbol: tk_gone\n", BuildError, "does not find `tk_gone`"),
        ("Error: something of PlatformIO\n", BuildError, "something of PlatformIO"),
        ("only this\n", BuildError, "only this"),
        ("", BuildError, "no output"),
    ],
)
def test_failures_explained(output: str, kind: type[Exception], message: str) -> None:
    error = explain(output, LOG)
    assert type(error) is kind
    assert message in error.message
    assert "\n" not in error.message


def test_no_compiler_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib.util

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ARM_NONE_EABI_PREFIX", raising=False)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "ziglang" else real(name, *a)
    )
    with pytest.raises(BuildError, match="no compiler for Cortex-M") as caught:
        find_compiler()
    assert "apt install gcc-arm-none-eabi" in caught.value.hint
    assert "pip install ziglang" in caught.value.hint


def test_compiler_that_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before the one on PATH come ARM_NONE_EABI_PREFIX and, before that, an argument."""
    program = tmp_path / "my-gcc"
    program.write_text("#!/bin/sh\necho 13.2.1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    prefix = str(tmp_path / "my-")
    assert find_compiler(prefix).id == "gcc-13.2"
    monkeypatch.setenv("ARM_NONE_EABI_PREFIX", prefix)
    assert find_compiler().path == prefix
    with pytest.raises(BuildError, match="/no/such/gcc does not exist"):
        find_compiler("/no/such/")


def test_platform_builds_without_tinykit(tmp_path: Path) -> None:
    """The platform says by itself that there is no compiler (exit code 1, one line)."""
    import subprocess
    import sys

    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.c").write_text("int main(void) { return 0; }\n")
    (tmp_path / "platformio.ini").write_text(
        "[platformio]\ncore_dir = .pio/core\n"
        f"boards_dir = {load_board('mps2_an386').manifest.parent}\n"
        f"[env:x]\nplatform = symlink://{platform_dir()}\nframework = tinykit\n"
        "board = mps2_an386\ntest_framework = custom\ncustom_toolchain = /no/such/\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "platformio", "run", "-d", str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PLATFORMIO_NO_ANSI": "true"},
    )
    assert done.returncode != 0
    assert "error: /no/such/gcc does not exist" in done.stdout + done.stderr
