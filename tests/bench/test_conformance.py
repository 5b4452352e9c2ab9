"""A part of `python -m bench conformance`: this machine's builds, and the smallest core."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench.conformance import report
from bench.measuring.conformance import (
    SCALARS,
    Result,
    cases,
    differing,
    float_functions,
    on_board,
    schedules,
    small_run,
)
from tinykit.boards import load_board
from tinykit.build.compilers import find_compiler
from tinykit.errors import BuildError
from tinykit.host import HostModel
from tinykit.schedule import Program

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


@pytest.mark.slow
def test_schedules_levels_and_instruction_sets_give_the_same_bits(tmp_path: Path) -> None:
    run = small_run()
    results = [Result(c.schedule, c.build, c.where, *c.run()) for c in cases(run, tmp_path, True)]
    assert {r.schedule for r in results} == {"layer by layer", "streamed", "nothing in place"}
    assert {r.where for r in results} == {"host, portable", "host, DSP"}
    assert len({r.build for r in results}) >= 3
    assert differing(results) == []
    # and they are those of a run that learnt: not of one that stood still
    host, fresh = HostModel(tmp_path / "schedule-0"), HostModel(tmp_path / "schedule-0")
    losses = [host.train(sample, label).loss for sample, label in run]
    assert len(set(losses)) > 15
    before, after = (np.frombuffer(h.parameters(), np.uint8) for h in (fresh, host))
    assert (before != after).mean() > 0.3


@pytest.mark.slow
@pytest.mark.emulator
def test_a_core_without_fpu_gives_the_same_bits_and_floats_are_scalars(tmp_path: Path) -> None:
    try:
        find_compiler()
    except BuildError:
        pytest.skip("no cross compiler is installed")
    run = small_run()
    found = cases(run, tmp_path, True)
    board = load_board("mps2_an385_m0plus")
    generated = tmp_path / "schedule-1"
    assert on_board(run, generated, board, tmp_path / "m0", ("-O2",)) == found[0].run()
    elf = tmp_path / "m0" / ".pio" / "build" / board.name / "firmware.elf"
    floats = float_functions(elf)
    assert {"tk_exp", "tk_update_rate", "tk_step_begin"} <= floats <= set(SCALARS)


def places(program: Program) -> list[tuple[int, int]]:
    graph = program.graph
    made = {name for op in graph.ops for name in op.outputs if op.kind != "reshape"}
    names = [*graph.inputs, *made]
    return sorted((program.offsets[n], program.offsets[n] + graph[n].bytes) for n in names)


def test_the_schedules_differ_as_they_are_called() -> None:
    made = schedules(small_run())
    assert not made["layer by layer"].infer.streamed
    assert made["streamed"].infer.streamed
    assert made["streamed"].arena_bytes < made["layer by layer"].arena_bytes
    apart = made["nothing in place"]
    assert apart.train is not None
    for program in (apart.infer, apart.train):
        found = places(program)
        assert all(a[1] <= b[0] for a, b in pairwise(found))
        assert found[-1][1] <= program.arena_bytes


def test_one_other_bit_is_told() -> None:
    first = Result("layer by layer", "gcc -O2", "host, portable", 1, 2, 3)
    for field in ("parameters", "losses", "trainer"):
        other = replace(first, where="elsewhere", **{field: 9})
        assert differing([first, first, other]) == [other]
        assert not report([first, other], None).data["equal"]
    assert report([first, first], None).data["equal"]
    assert report([first], {"tk_exp"}).data["equal"]
    beyond = report([first], {"tk_exp", "tk_conv2d_s8"}).data
    assert not beyond["equal"]
    assert beyond["unexpected_float_functions"] == ["tk_conv2d_s8"]
