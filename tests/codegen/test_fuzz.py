"""A minute of the fuzzer; `make fuzz GRAPHS=1000` runs more of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support import fuzz
from tests.support.random_models import RULES, SPATIAL, models
from tinykit.ir import Array
from tinykit.ops.registry import tflite_operators

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
GRAPHS = 100
# TFLM has no int8 kernel for EXP, GELU, NEG, SQUARE and TILE, RSQRT refuses half of all codes, DIV
# is not defined for most scales there, and variables make a graph that is more than a function
# (tests/host/test_streaming_state.py)
APART = {"EXP", "GELU", "NEG", "SQUARE", "TILE", "RSQRT", "DIV", "READ_VARIABLE", "ASSIGN_VARIABLE"}


@needs_gcc
def test_random_graphs_in_c_equal_numpy_equal_tflm() -> None:
    failures = fuzz.fuzz(0, GRAPHS)
    assert not failures, "\n".join(map(str, failures))


def test_every_operator_that_can_be_imported_is_generated() -> None:
    """Who adds an operator adds a function to one of tests/support/random_*.py."""
    rules, spatial = fuzz.generators()
    assert set(RULES) <= set(rules)
    assert set(SPATIAL) <= set(spatial) <= set(rules)
    drawn = {
        name
        for rule in rules
        for number in range(12)
        for name in fuzz.sample(models((rule,), spatial=spatial), number).operators
    }
    assert set(tflite_operators()) - APART <= drawn


def test_a_number_always_gives_the_same_graph() -> None:
    contents = [fuzz.sample(fuzz.candidates(), number).content for number in (5, 6, 5)]
    assert contents[0] == contents[2] != contents[1]


@needs_gcc
def test_what_differs_is_reported_with_the_way_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One wrong code: in the outputs of NumPy, then in those of C."""
    assert not fuzz.check([7], tmp_path)

    def wrong(content: bytes, x: Array) -> Array:
        return golden(content, x) ^ 1

    golden = fuzz.tflm
    monkeypatch.setattr(fuzz, "tflm", wrong)
    [failure] = fuzz.check([7], tmp_path)
    assert "before the passes" in str(failure)
    assert "make fuzz GRAPHS=1 SEED=7" in str(failure)
    monkeypatch.setattr(fuzz, "evaluate", lambda graph, given: {
        graph.outputs[0]: wrong(fuzz.sample(fuzz.candidates(), 7).content,
                                given[graph.inputs[0]])
    })  # fmt: skip
    failures = fuzz.check([7], tmp_path)
    assert {failure.number for failure in failures} == {7}
    assert all("outputs of C differ" in failure.what for failure in failures)
    assert len(failures) >= len(fuzz.VARIANTS) + 1


def test_a_case_that_stops_does_not_stop_the_others(tmp_path: Path) -> None:
    """The program writes one output, then a sanitizer stops it; it is started again behind that."""
    zeros = np.zeros((2, 1, 3), np.int8)
    found = [fuzz.Case(n, f"g{n}", "default", None, zeros, zeros) for n in range(3)]  # type: ignore[arg-type]
    program = tmp_path / "program"
    program.write_text(
        "#!/bin/sh\ncat >/dev/null\nhead -c 6 /dev/zero\n"
        '[ "$1" = 2 ] || { echo "heap-buffer-overflow" >&2; exit 1; }\n'
    )
    program.chmod(0o755)
    [failure] = fuzz.run(found, program, "portable")
    assert failure.number == 1
    assert "heap-buffer-overflow" in failure.what
