"""The stack's bound: against frames that GCC states itself (.su), and against what QEMU uses."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import cast

import pytest

from tests.build.conftest import Build
from tests.devices.learner import Learner
from tinykit.build.compilers import find_compiler, platform_dir
from tinykit.build.image import Image, read_image
from tinykit.build.stack import StackAnalysis, stack_bound
from tinykit.build.thumb import Flow, decode
from tinykit.errors import BuildError

SOURCE = """
#include <stdint.h>
volatile uint32_t sink;
__attribute__((noinline)) void leaf(const uint32_t *p) { sink = p[3]; }
__attribute__((noinline)) void block(void) { uint32_t a[100]; a[3] = sink; leaf(a); sink = a[5]; }
__attribute__((noinline)) uint32_t recursive(uint32_t n) {
    return n < 2 ? n : recursive(n - 1) * 3u + recursive(n - 2);
}
__attribute__((noinline)) void even(uint32_t n);
__attribute__((noinline)) void odd(uint32_t n) { sink = n; if (n) { even(n - 1); } sink = 1; }
void even(uint32_t n) { sink = n; if (n) { odd(n - 1); } sink = 2; }
void (*volatile pointer)(void);
__attribute__((noinline)) void indirect(void) { pointer(); sink = 1; }
__attribute__((noinline)) void variable(uint32_t n) { uint32_t a[n]; a[n - 1] = 3; leaf(a); }
__attribute__((noinline)) uint32_t chosen(uint32_t n) {
    switch (n) {
    case 0: block(); return 5;
    case 1: leaf((const uint32_t *)n); return 17;
    case 2: sink = 4; return 3;
    case 3: sink = 9; return 8;
    case 4: leaf((const uint32_t *)8); return 2;
    case 5: sink = 1; sink = 2; return 1;
    }
    return 0;
}
#define TEN(x) x x x x x x x x x x
__attribute__((noinline)) void long_loop(const uint32_t *p) {
    for (; *p != 1; p++) {
        if (*p == 2) { block(); continue; }
        TEN(TEN(TEN(sink = p[2]; sink = 3;)))
    }
    block();
}
int main(void) {
    long_loop((const uint32_t *)8);
    block(); recursive(sink); even(3); indirect(); variable(sink); return (int)chosen(sink);
}
"""

MEMORY = """
MEMORY {
  FLASH (rx) : ORIGIN = 0, LENGTH = 64K
  RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 64K
}
TK_STACK_SIZE = 4096;
"""


@pytest.fixture(scope="session")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SOURCE for a Cortex-M4F."""
    flags = "-mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard"
    return link(tmp_path_factory.mktemp("stack"), flags)


def link(folder: Path, machine: str, *options: str, source: str = SOURCE) -> Path:
    """The source with the board support's start-up code; .su files beside it."""
    if not shutil.which("arm-none-eabi-gcc"):
        pytest.skip("arm-none-eabi-gcc is not installed")
    (folder / "main.c").write_text(source)
    support = platform_dir() / "support"
    (folder / "x.ld").write_text(MEMORY + (support / "cortexm.ld").read_text())
    flags = f"{machine} -O2 -ffunction-sections"
    subprocess.run(
        [
            *("arm-none-eabi-gcc", *flags.split(), "-fno-builtin", "-fstack-usage", "-nostdlib"),
            *("-fno-ipa-ra", f"-I{support}", "main.c", str(support / "startup.c"), "-Tx.ld"),
            *("-o", "x.elf", "-Wl,--gc-sections", *options),
        ],
        cwd=folder,
        check=True,
    )
    return folder / "x.elf"


def test_known_frames(linked: Path) -> None:
    analysis = StackAnalysis(read_image(linked))
    assert analysis.depth_of("leaf") == 0
    assert 400 + 4 <= analysis.depth_of("block") <= 400 + 16
    assert analysis.depth_of("chosen") >= analysis.depth_of("block")


def test_a_switch_through_a_table_of_addresses(tmp_path: Path) -> None:
    """As GCC writes it for Armv6-M, in libgcc too; a pointer that is called stays an error."""
    image = read_image(link(tmp_path, "-mcpu=cortex-m0plus -mthumb"))
    chosen = next(s for s in image.symbols if s.name == "chosen")
    inside = range(chosen.address, chosen.address + chosen.size, 2)
    assert any(image.halfword(at) & 0xFF87 == 0x4687 for at in inside), "no MOV PC, Rx"
    analysis = StackAnalysis(image)
    assert analysis.depth_of("chosen") >= analysis.depth_of("block") > 400
    with pytest.raises(BuildError, match="through a pointer, in `indirect`"):
        analysis.depth_of("indirect")


def test_far_jumps_within_a_function_are_not_calls(tmp_path: Path) -> None:
    """GCC for Armv6-M goes back to the head of a long loop by BL: neither recursion nor deeper."""
    image = read_image(link(tmp_path, "-mcpu=cortex-m0plus -mthumb"))
    long = next(s for s in image.symbols if s.name == "long_loop")
    inside = range(long.address, long.address + long.size, 2)
    calls = [d.target for d in (decode(image, at) for at in inside) if d.flow is Flow.CALL]
    assert any(long.address < target < long.address + long.size for target in calls), "no far jump"
    block = StackAnalysis(image).depth_of("block")
    stated = (tmp_path / "x.elf-main.su").read_text()
    frame = int(re.findall(r"long_loop\t(\d+)", stated)[0])
    assert StackAnalysis(image).depth_of("long_loop") == frame + block


def test_marks_of_debugging_sections_are_not_code(tmp_path: Path) -> None:
    """They have marks ($d), too, at addresses that count from 0 where .text also begins."""
    mark = '\nasm(".section .debug_marks\\n.space 66\\n\\"$d\\":\\n.space 2\\n.text");\n'
    images = []
    for name, source in (("without", SOURCE), ("with", SOURCE + mark)):
        (tmp_path / name).mkdir()
        elf = link(tmp_path / name, "-mcpu=cortex-m4 -mthumb", source=source)
        images.append(read_image(elf))
    symbols = subprocess.run(
        ["arm-none-eabi-readelf", "-Ws", str(elf)], capture_output=True, text=True, check=True
    ).stdout
    marks = {int(value, 16) for value in re.findall(r": (\w+) .* \$[dt]$", symbols, re.M)}
    without, debug = images
    assert 66 in marks - set(without.code_starts)
    assert without.text_address == 0
    assert len(without.text) > 68
    assert debug.text == without.text
    assert (debug.code_starts, debug.code_kinds) == (without.code_starts, without.code_kinds)
    for function in ("block", "chosen"):
        expected = StackAnalysis(without).depth_of(function)
        assert StackAnalysis(debug).depth_of(function) == expected


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("recursive", "recursion recursive → recursive"),
        ("even", "recursion even → odd → even"),
        ("indirect", "through a pointer, in `indirect`"),
        ("variable", "frame is not known at compile time, in `variable`"),
    ],
)
def test_what_has_no_bound_is_named(linked: Path, function: str, message: str) -> None:
    with pytest.raises(BuildError, match=re.escape(message)):
        StackAnalysis(read_image(linked)).depth_of(function)


@pytest.mark.parametrize(
    ("halfwords", "push"),
    [
        ((0xECBD, 0x0F04), 0),  # vldrh.s32 q0, [r5], #8: the 13 is not SP
        ((0xEDAD, 0x0F04), 0),  # vstrh.32 q0, [r5, #8]!
        ((0xECB5, 0x3E10), 0),  # vldrb.u8 q1, [r5], #16
        ((0xED2D, 0x8B08), 32),  # vpush {d8-d11}
        ((0xF00F, 0xC007), 0),  # le lr, -8: goes on in the end
    ],
)
def test_vector_instructions(halfwords: tuple[int, int], push: int) -> None:
    """As arm-none-eabi-as writes them for a Cortex-M55."""

    class Words:
        def halfword(self, address: int) -> int:
            return halfwords[address // 2]

    found = decode(cast(Image, Words()), 0)
    assert (found.size, found.flow, found.push) == (4, Flow.NEXT, push)


def test_the_error_is_found_from_main(linked: Path) -> None:
    with pytest.raises(BuildError, match="the stack cannot be bounded"):
        stack_bound(read_image(linked), has_fpu=True)


def test_frames_agree_with_what_gcc_states(build: Build) -> None:
    """Of every function in real firmware; GCC writes "file:line:col:name bytes static" into .su."""
    if find_compiler().kind != "gcc":
        pytest.skip("clang writes no .su files")
    firmware = build()
    image = read_image(firmware.elf)
    everything = {s.name: 0 for s in image.symbols if s.function}
    stated: dict[str, set[int]] = {}
    for path in firmware.elf.parent.rglob("*.su"):
        for line in path.read_text().splitlines():
            place, size, kind = line.split("\t")
            assert kind == "static", line
            stated.setdefault(place.rsplit(":", 1)[1], set()).add(int(size))
    compared = 0
    for name in everything:
        if name in stated and name != "tk_unhandled":  # hand-written: it leaves its stack
            others = {other: 0 for other in everything if other != name}
            assert StackAnalysis(image, others).depth_of(name) in stated[name], name
            compared += 1
    assert compared > 10


@pytest.mark.parametrize("toolchain", ["", "zig"])
def test_section_is_the_bound(build: Build, toolchain: str) -> None:
    firmware = build(toolchain=toolchain)
    assert firmware.report.stack == firmware.stack.total
    assert firmware.stack.total % 8 == 0
    assert firmware.stack.path[0] == ("tk_reset", 0)


@pytest.mark.parametrize("toolchain", ["", "zig"])
@pytest.mark.parametrize("board", ["mps2_an386", "netduinoplus2", "mps2_an385_m0plus"])
def test_device_never_uses_more(build: Build, learner: Learner, board: str, toolchain: str) -> None:
    """The high-water mark of a device that has inferred, learnt, saved and loaded."""
    from tinykit.boards import load_board
    from tinykit.link import Client
    from tinykit.targets import open_target
    from tinykit.targets.qemu import qemu_installed

    if not qemu_installed():
        pytest.skip("qemu-system-arm is not installed")
    firmware = build(board, toolchain)
    with (
        open_target("qemu", elf=firmware.elf, board=load_board(board)) as target,
        Client(target.url, learner.manifest) as client,
    ):
        for sample, label in zip(learner.samples[:3], learner.labels[:3], strict=True):
            client.infer(sample)
            client.train(sample, int(label))
        client.load(client.save())
        used = client.counters().stack_used
    assert 0 < used <= firmware.stack.total
    # nothing was interrupted while deep down, so what is left is the interrupts' share, at most
    assert used >= firmware.stack.thread / 2
