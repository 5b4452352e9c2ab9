"""What is said before compiling holds after linking, and is at most 10 % too high."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.build.conftest import Build
from tests.devices.learner import Learner
from tinykit.boards import list_boards, load_board
from tinykit.build import build_firmware
from tinykit.build.bounds import check_fit, load_tables, plan_memory, planned_bounds
from tinykit.build.measure_bounds import runtime_hash
from tinykit.build.objects import archive_members, read_objects
from tinykit.errors import BuildError, DoesNotFitError

TOO_HIGH = 1.10
BOARDS = [board.name for board in list_boards()]


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize(
    ("board", "toolchain"), [*((name, "") for name in BOARDS), ("mps2_an386", "zig")]
)
def test_bounds_hold(build: Build, board: str, toolchain: str, trains: bool) -> None:
    if not trains and board not in ("mps2_an386", "stm32f746"):
        pytest.skip("two boards are enough for firmware that only infers")
    report = build(board, toolchain, trains).report
    bounds = report.bounds
    assert bounds is not None
    if bounds.measured != f"{report.compiler} on {board}":
        pytest.skip(f"{report.compiler} was not measured on {board}")
    for linked, bound in (
        (report.code, bounds.code),
        (report.bss, bounds.bss),
        (report.stack, bounds.stack),
    ):
        assert linked <= bound <= TOO_HIGH * linked


def test_bounds_hold_without_the_trace(learner: Learner, build: Build, tmp_path: Path) -> None:
    traced = build().report
    report = build_firmware(
        learner.generated, load_board("mps2_an386"), tmp_path, trace=False
    ).report
    assert report.bounds is not None
    assert report.code < traced.code
    if report.bounds.measured == f"{report.compiler} on mps2_an386":
        assert report.code <= report.bounds.code <= TOO_HIGH * report.code


def test_tables_are_of_this_runtime() -> None:
    """`make bounds` is due when the C runtime, the firmware or the platform has changed."""
    assert load_tables().runtime == runtime_hash()


def test_every_board_was_measured() -> None:
    for compiler, boards in load_tables().tables.items():
        assert set(boards) == set(BOARDS), compiler


def test_unknown_compiler_gets_the_largest_with_a_warning(learner: Learner) -> None:
    board = load_board("mps2_an386")
    known = [
        planned_bounds(learner.manifest, board, compiler).code for compiler in load_tables().tables
    ]
    with pytest.warns(UserWarning, match=r"gcc-99\.1 on mps2_an386 were never measured"):
        bounds = planned_bounds(learner.manifest, board, "gcc-99.1")
    assert bounds.code == max(known)


def test_own_board_gets_figures_of_its_core(learner: Learner) -> None:
    compiler = next(iter(load_tables().tables))
    board = replace(load_board("netduinoplus2"), name="mine")
    with pytest.warns(UserWarning, match="on mine were never measured"):
        bounds = planned_bounds(learner.manifest, board, compiler)
    assert bounds.code >= planned_bounds(learner.manifest, load_board("mps2_an386"), compiler).code


def test_unknown_kernel_is_named(learner: Learner) -> None:
    manifest = learner.manifest.model_copy(update={"kernels": ("tk_no_such_kernel",)})
    compiler = next(iter(load_tables().tables))
    with pytest.raises(BuildError, match="tk_no_such_kernel"):
        planned_bounds(manifest, load_board("mps2_an386"), compiler)


def test_what_does_not_fit_is_refused_with_numbers(learner: Learner) -> None:
    compiler = next(iter(load_tables().tables))
    board = load_board("mps2_an386")
    plan = plan_memory(learner.manifest, board, compiler)
    just = replace(board, sram=plan.sram_bytes, flash=plan.flash_bytes)
    assert check_fit(learner.manifest, just, compiler).sram_bytes == plan.sram_bytes
    small = replace(board, sram=plan.sram_bytes - 1, flash=plan.flash_bytes - 100)
    with pytest.raises(DoesNotFitError) as caught:
        check_fit(learner.manifest, small, compiler)
    message = caught.value.message
    assert f"{plan.sram_bytes:,} of {small.sram:,} B of SRAM" in message
    assert f"arena {learner.manifest.memory.sram['arena']:,}" in message
    assert f"stack ≤ {plan.bounds.stack:,}" in message
    assert "1 B too many" in message
    assert "100 B too many" in message
    assert "train less" in caught.value.hint
    assert "\n" not in message + caught.value.hint


def test_object_graph_of_an_archive(build: Build) -> None:
    """libgcc and compiler-rt can be read: 64-bit division is in both."""
    library = Path(build().elf.with_name("compiler-library.txt").read_text().strip())
    graph = read_objects(archive_members(library))
    needed = graph.reach(["__aeabi_uldivmod"])
    assert graph.symbols["__aeabi_uldivmod"] in needed
    assert sum(graph.nodes[name].size for name in needed) > 100
