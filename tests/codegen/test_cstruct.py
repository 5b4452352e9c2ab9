"""The layout that Python computes for the runtime's structs is the compiler's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tinykit.codegen.cstruct import struct_types
from tinykit.resources import resource_path

INCLUDE = resource_path("firmware") / "lib" / "tinykit" / "include"


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_sizes_equal_the_compilers(cpu: str, tmp_path: Path) -> None:
    if not shutil.which("arm-none-eabi-gcc"):
        pytest.skip("arm-none-eabi-gcc is not installed")
    types = struct_types()
    source = tmp_path / "sizes.c"
    lines = ['#include "tinykit/training.h"']
    for name, kind in types.items():
        lines.append(f"const char size_of_{name}[sizeof({name})] = {{0}};")
        lines.append(f'_Static_assert(_Alignof({name}) == {kind.alignment}, "{name}");')
    source.write_text("\n".join(lines) + "\n")
    subprocess.run(
        ["arm-none-eabi-gcc", f"-mcpu={cpu}", "-std=c11", "-c", f"-I{INCLUDE}", str(source),
         "-o", str(tmp_path / "sizes.o")],
        check=True,
    )  # fmt: skip
    with (tmp_path / "sizes.o").open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab").iter_symbols()
        sizes = {s.name.removeprefix("size_of_"): s["st_size"] for s in symbols if s["st_size"]}
    assert sizes == {name: kind.bytes for name, kind in types.items()}
    assert len(sizes) > 20
