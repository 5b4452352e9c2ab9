"""The cycle tables, against what the manuals say of single instructions and of pairs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.measuring.cycles import (
    CortexM0Plus,
    CortexM4,
    Instruction,
    Timing,
    decode_bytes,
    published,
)
from tinykit.build.compilers import find_compiler
from tinykit.errors import BuildError


def assembled(folder: Path, text: str, cpu: str) -> list[Instruction]:
    """The instructions of assembly text, `;` between them."""
    try:
        compiler = find_compiler()
    except BuildError as error:
        pytest.skip(error.message)
    if compiler.kind != "gcc":
        pytest.skip("needs GCC's assembler")
    fpu = ".fpu fpv4-sp-d16\n" if cpu == "cortex-m4" else ""
    lines = text.replace(";", "\n")
    source = folder / "x.s"
    source.write_text(f".syntax unified\n.cpu {cpu}\n{fpu}.thumb\nstart:\n{lines}\n")
    subprocess.run([f"{compiler.path}as", source, "-o", folder / "x.o"], check=True)
    copy = [f"{compiler.path}objcopy", "-O", "binary", folder / "x.o", folder / "x.bin"]
    subprocess.run(copy, check=True)
    return decode_bytes((folder / "x.bin").read_bytes(), 0, text.count(";") + 1)


def straight(timing: Timing, run: list[Instruction]) -> int:
    """Cycles of instructions in a row without a jump."""
    return sum(timing.cost(one, before) for one, before in zip(run, [None, *run[:-1]], strict=True))


@pytest.mark.parametrize(
    ("text", "cycles"),
    [
        # DDI 0439D, table 3-1
        ("adds r0, r1", 1),
        ("mla r0, r1, r2, r3", 1),
        ("smlal r0, r1, r2, r3", 1),
        ("sdiv r0, r1, r2", 12),
        ("ldr r0, [r1, #4]", 2),
        ("ldrsb r0, [r1], #1", 2),
        ("ldrd r0, r1, [r2]", 3),
        ("ldm r0!, {r1, r2, r3}", 4),
        ("push {r4, r5, lr}", 4),
        ("it ne; movne r0, #1", 2),
        # table 3-2
        ("smlad r0, r1, r2, r3", 1),
        ("sxtb16 r0, r1, ror #8", 1),
        ("smmulr r0, r1, r2", 1),
        # table 7-1
        ("vmla.f32 s0, s1, s2", 3),
        ("vldmia r0!, {s0-s3}", 5),
        ("vpush {d8-d9}", 5),
        # section 3.3.2, its own examples first
        ("ldr r0, [r1]; ldr r1, [r2]", 3),
        ("ldr r0, [r1, r2]; str r0, [r3, #20]", 3),
        ("ldr r0, [r1, r2]; str r1, [r3, r2]", 3),
        ("ldr r0, [r1, r5]; ldr r1, [r2]; ldr r2, [r3, #4]", 4),
        ("ldr r0, [r1]; ldr r2, [r0]", 4),
        ("str r0, [r1, #4]", 1),
        ("str r0, [r1, r2]; ldr r3, [r4]", 4),
        ("ldrd r0, r1, [r2]; ldr r3, [r4]", 5),
        ("add r0, r1, r2; ldr r3, [r0]", 4),
    ],
)
def test_cortex_m4(tmp_path: Path, text: str, cycles: int) -> None:
    assert straight(CortexM4(), assembled(tmp_path, text, "cortex-m4")) == cycles


def test_cortex_m4_jumps(tmp_path: Path) -> None:
    """A branch that is not taken takes 1, a taken one 1 + P with P from 1 to 3."""
    text = "bne start; bx lr; pop {r4, pc}; nop; add.w r8, r1, r2; nop; add.w r8, r1, r2"
    run = assembled(tmp_path, text, "cortex-m4")
    branch, to_link, pop, _, unaligned, _, aligned = run
    timing = CortexM4()
    assert straight(timing, [branch]) == 1
    assert (timing.leave(branch), timing.leave(to_link), timing.leave(pop)) == (1, 2, 2)
    assert unaligned.size == aligned.size == 4
    penalties = {one.aligned: timing.enter(one) for one in (unaligned, aligned)}
    assert penalties in ({True: 0}, {False: 1}) or penalties == {True: 0, False: 1}
    assert timing.enter(branch) == 0


@pytest.mark.parametrize(
    ("text", "cycles"),
    [
        # DDI 0484C, table 3-1
        ("adds r0, r0, r1", 1),
        ("muls r0, r1, r0", 1),
        ("ldr r0, [r1, #4]", 2),
        ("ldrsb r0, [r1, r2]; ldrsb r3, [r1, r2]", 4),
        ("strb r0, [r1]", 2),
        ("ldm r0!, {r1, r2, r3}", 4),
        ("push {r4, r5, lr}", 4),
        ("mrs r0, primask", 3),
    ],
)
def test_cortex_m0plus(tmp_path: Path, text: str, cycles: int) -> None:
    assert straight(CortexM0Plus(), assembled(tmp_path, text, "cortex-m0plus")) == cycles


@pytest.mark.parametrize(
    ("text", "cycles"),
    [("bne start", 2), ("b start", 2), ("bl start", 3), ("bx lr", 2), ("pop {r4, pc}", 5)],
)
def test_cortex_m0plus_jumps(tmp_path: Path, text: str, cycles: int) -> None:
    """POP with PC takes 3 + N, N counting PC."""
    (one,) = assembled(tmp_path, text, "cortex-m0plus")
    assert straight(CortexM0Plus(), [one]) + CortexM0Plus().leave(one) == cycles


@pytest.mark.parametrize("cpu", ["cortex-m7", "cortex-m33", "cortex-m55"])
def test_no_table_for_other_cores(cpu: str) -> None:
    assert published(cpu) is None
