"""The bound of an inference's instructions: small programs, and a model on a core that branches."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from bench.measuring.counting import Block, Run
from bench.measuring.inference import measure
from bench.measuring.models import MLPERF_TINY
from bench.measuring.worst import worst_case
from tinykit.boards import load_board
from tinykit.build.compilers import find_compiler
from tinykit.build.image import Image
from tinykit.errors import BuildError
from tinykit.targets.qemu import qemu_installed


def image(*halfwords: int) -> Image:
    class Words:
        def halfword(self, address: int) -> int:
            return halfwords[address // 2]

    return cast(Image, Words())


def run(*executed: int) -> Run:
    blocks = tuple(Block(0, 2 * i, 1, n, 0, 0) for i, n in enumerate(executed) if n)
    return Run(None, blocks, sum(executed))


# cmp r0, #0; beq 0x6; adds r0, #1; bx lr
SKIPS = image(0x2800, 0xD000, 0x3001, 0x4770)
# cmp r0, #0; beq 0x8; adds r0, #1; b 0xa; adds r0, #2; bx lr
CHOOSES = image(0x2800, 0xD001, 0x3001, 0xE000, 0x3002, 0x4770)
# subs r0, #1; bne 0x0; bx lr
LOOPS = image(0x3801, 0xD1FD, 0x4770)


def test_what_is_skipped_by_some_inputs_counts_each_time() -> None:
    assert worst_case([run(10, 10, 3, 10), run(10, 10, 5, 10)], SKIPS) == 40


def test_both_ways_count() -> None:
    """Not the longer one alone: a bound, if not the least."""
    assert worst_case([run(10, 10, 3, 3, 7, 10), run(10, 10, 9, 9, 1, 10)], CHOOSES) == 60


def test_inputs_that_take_the_same_are_the_bound() -> None:
    assert worst_case([run(10, 10, 3, 10), run(10, 10, 3, 10)], SKIPS) == 33


def test_a_loop_whose_count_depends_on_data_has_no_bound() -> None:
    assert worst_case([run(5, 5, 1), run(7, 7, 1)], LOOPS) is None
    assert worst_case([run(7, 7, 1), run(7, 7, 1)], LOOPS) == 15


@pytest.mark.emulator
def test_a_core_that_saturates_by_branches(shared: Path, tmp_path: Path) -> None:
    """The last three instructions of `requantize` in requantize_v6m.S, once for each output."""
    pytest.importorskip("tflite_micro", reason="pip install tflite-micro")
    try:
        compiler = find_compiler()
    except BuildError as error:
        pytest.skip(error.message)
    if compiler.kind != "gcc" or not qemu_installed():
        pytest.skip("needs arm-none-eabi-gcc and qemu-system-arm")
    path = shared / "models" / MLPERF_TINY["ad"]
    found = measure(path, load_board("mps2_an385_m0plus"), tmp_path, name="ad")
    outputs = 128 * 8 + 8 + 640
    assert found.exact
    assert found.spread > 0
    assert found.worst is not None
    assert max(found.samples) <= found.worst <= min(found.samples) + 3 * outputs
