"""Every byte of the ELF is attributed; sums are compared with the ELF's headers, read here."""

from __future__ import annotations

from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tests.build.conftest import Build
from tests.devices.learner import Learner
from tinykit.build.linkmap import read_map
from tinykit.build.size import EXACT, measure
from tinykit.errors import BuildError

GNU_MAP = """\
Discarded input sections

 .text          0x00000000        0x8 a.o

Linker script and memory map

.text           0x00000000       0x20
 *(.vectors)
 .vectors       0x00000000        0x8 a b/x.o
 .text.a_function_with_a_very_long_name
                0x00000008        0x6 lib/libgcc.a(_divsi3.o)
                0x00000008                a_function_with_a_very_long_name
 *fill*         0x0000000e        0x2
 .rodata.str1.4
                0x00000010        0x4 y.o
                                  0x7 (size before relaxing)
 .text.gone     0x00000014        0x0 y.o

.bss            0x20000000        0x4
 .bss.v         0x20000000        0x4 y.o

.debug_info     0x00000000       0x40
 .debug_info    0x00000000       0x40 y.o
"""

LLD_MAP = """\
     VMA      LMA     Size Align Out     In      Symbol
       0        0        0     1 TK_STACK_SIZE = 4096
       0        0       40     8 .text
       0        0        8     4         a b/x.o:(.vectors)
       0        0        8     1                 tk_vectors
       8        8        6     4         lib/libcompiler_rt.a(rt.o):(.text.f)
20000000 20000000        4     4 .bss
20000000 20000000        4     4         y.o:(.bss.v)
       0        0       40     1 .debug_info
       0        0       40     1         y.o:(.debug_info)
"""


def test_gnu_map(tmp_path: Path) -> None:
    (tmp_path / "m").write_text(GNU_MAP)
    assert [
        (p.output, p.section, p.address, p.size, p.object) for p in read_map(tmp_path / "m")
    ] == [
        (".text", ".vectors", 0, 8, "a b/x.o"),
        (".text", ".text.a_function_with_a_very_long_name", 8, 6, "lib/libgcc.a(_divsi3.o)"),
        (".text", ".rodata.str1.4", 16, 4, "y.o"),
        (".bss", ".bss.v", 0x20000000, 4, "y.o"),
    ]


def test_lld_map(tmp_path: Path) -> None:
    (tmp_path / "m").write_text(LLD_MAP)
    assert [
        (p.output, p.section, p.address, p.size, p.object) for p in read_map(tmp_path / "m")
    ] == [
        (".text", ".vectors", 0, 8, "a b/x.o"),
        (".text", ".text.f", 8, 6, "lib/libcompiler_rt.a(rt.o)"),
        (".bss", ".bss.v", 0x20000000, 4, "y.o"),
    ]


@pytest.mark.parametrize("toolchain", ["", "zig"])
def test_items_sum_to_the_elf(build: Build, toolchain: str) -> None:
    firmware = build(toolchain=toolchain)
    with firmware.elf.open("rb") as file:
        elf = ELFFile(file)
        sections = {s.name: s["sh_size"] for s in elf.iter_sections() if s["sh_flags"] & 2}
        in_flash = sum(s["p_filesz"] for s in elf.iter_segments("PT_LOAD"))
    sums = {
        memory: sum(i.bytes for i in firmware.report.items if i.memory == memory)
        for memory in ("sram", "flash")
    }
    assert sums["flash"] == sections[".text"] + sections[".data"] == in_flash
    assert sums["sram"] == sections[".stack"] + sections[".data"] + sections[".bss"]
    assert (firmware.report.sram, firmware.report.flash) == (sums["sram"], sums["flash"])
    assert sum(sections.values()) == sums["sram"] + sections[".text"]
    assert all(i.bytes <= 15 for i in firmware.report.items if i.kind == "padding")


def test_exact_items_are_as_the_manifest_says(build: Build, learner: Learner) -> None:
    report = build().report
    for memory in ("sram", "flash"):
        planned = getattr(learner.manifest.memory, memory)
        linked = report.kinds(memory)  # type: ignore[arg-type]
        for kind in EXACT[memory]:  # type: ignore[index]
            assert linked.get(kind, 0) == planned.get(kind, 0), kind
    assert report.kinds("sram")["arena"] > 0 < report.kinds("flash")["weights"]


def test_kernels_are_named(build: Build, learner: Learner) -> None:
    names = {item.name for item in build().report.items if item.kind == "kernels"}
    assert set(learner.manifest.kernels) <= names


def test_a_manifest_of_other_code_is_refused(build: Build, learner: Learner) -> None:
    firmware, manifest = build(), learner.manifest
    sram = manifest.memory.sram | {"arena": manifest.memory.sram["arena"] + 8}
    with pytest.raises(BuildError, match=r"arena take .* of sram, the plan said"):
        measure(
            firmware.elf,
            manifest.symbols,
            {"sram": sram, "flash": manifest.memory.flash},
            (1, 1),
            "gcc",
        )


def test_bytes_that_nothing_explains_are_an_error(
    build: Build, learner: Learner, tmp_path: Path
) -> None:
    firmware, manifest = build(), learner.manifest
    lines = firmware.elf.with_suffix(".map").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(" .text.tk_conv2d_s8"))
    while " 0x" in lines[at] or lines[at].startswith(" .text.tk_conv2d_s8"):
        del lines[at]
    (tmp_path / "firmware.map").write_text("\n".join(lines))
    elf = tmp_path / "firmware.elf"
    elf.write_bytes(firmware.elf.read_bytes())
    with pytest.raises(BuildError, match="belong to nothing the linker's map names"):
        measure(elf, manifest.symbols, {}, (1, 1), "gcc")
