"""The wheel stands alone: outside the checkout it scaffolds, generates and builds firmware."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _run(*command: str | Path, cwd: Path) -> str:
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "VIRTUAL_ENV") and not key.startswith("TINYKIT_")
    }
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**environment, "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def tinykit(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a clean environment that holds nothing but the wheel.

    Its dependencies are those of the running environment, by path: nothing is downloaded. (A path
    added this way brings no .pth files along, so the checkout's editable install stays out.)
    """
    root = tmp_path_factory.mktemp("clean")
    _run(sys.executable, "-m", "venv", "--without-pip", root / "venv", cwd=root)
    python = root / "venv" / "bin" / "python"
    install = ("-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    _run(sys.executable, *install, cwd=root)
    (site,) = (root / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = _run(python, "-c", "import tinykit; print(tinykit.__file__)", cwd=root).strip()
    assert Path(where).is_relative_to(site)
    return root / "venv" / "bin" / "tinykit"


def test_wheel_carries_what_is_not_python_and_nothing_that_was_built(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for resource in ("firmware/src/main.c", "boards/mps2_an386.json"):
        assert f"tinykit/_resources/{resource}" in names
    assert any(name.startswith("tinykit/_resources/examples/") for name in names)
    unwanted = (".pio/", "__pycache__", ".venv", ".cache/", "tests/")
    assert not [name for name in names if any(part in name for part in unwanted)]
    assert not [name for name in names if name.endswith((".o", ".elf", ".pyc", ".so"))]
    assert not [
        name for name in names if name.startswith("tinykit/_resources/") and "/build/" in name
    ]


def test_new_generate_and_build_outside_the_checkout(tinykit: Path, tmp_path: Path) -> None:
    _run(tinykit, "new", "project", cwd=tmp_path)
    project = tmp_path / "project"
    _run(tinykit, "generate", cwd=project)
    assert list((project / "build" / "generated").glob("*.c"))
    _run(tinykit, "build", cwd=project)
    (elf,) = (project / "build" / "firmware").glob("*/firmware.elf")
    assert elf.read_bytes()[:4] == b"\x7fELF"
    assert "firmware" in _run(tinykit, "size", cwd=project)
