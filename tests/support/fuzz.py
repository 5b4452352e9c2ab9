"""Random graphs from a seed: TensorFlow Lite Micro = NumPy = generated C, on all schedules.

    python -m tests.support.fuzz --graphs 1000 [--seed 0]        (or make fuzz GRAPHS=1000)

Graph n comes from seed n alone. Its operators come from tests/support/random_*.py, which have one
function for each operator, with dead and equal channels planted in every second one. The passes
run as for any build; what is left is scheduled as a build does it, under a budget of SRAM, cut into
segments at random, or fed row by row, and emitted. The schedules are replayed byte by byte, and
after each step of the generated C every byte that nothing needs is overwritten. Many graphs go into
one program, which is linked with the kernels (compiled once) of each instruction set that this
machine can stand in for, all under address and undefined-behaviour sanitizers.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import tests.support
from tests.support.goldens import tflm
from tests.support.kernels import VARIANTS
from tests.support.planted import plant
from tests.support.poison import HEADER, plan_text
from tests.support.random_models import RandomModel, Rule, models
from tests.support.streamed import FLAGS, programs, runtime_objects
from tinykit.codegen import Compiled, write
from tinykit.codegen.generate import graphs as through_passes
from tinykit.importers import load_model
from tinykit.ir import Array, Graph
from tinykit.ops.evaluate import evaluate
from tinykit.schedule import Program, schedule
from tinykit.schedule.parameters import parameter_block

Value = TypeVar("Value")
BATCH = 40  # graphs in one program
LENGTH = 7  # operators in a graph, at most
WHOLE = """
static void {run}(void) {{
    static int8_t sample[{upper}_INPUT_BYTES];
    for (int turn = 0; turn < {turns}; turn++) {{
        {name}_init(); /* each input to a fresh model: its variables begin anew */
        take(sample, sizeof sample);
        memset({name}_input() - {upper}_INPUT_OFFSET, 0x55, {upper}_ARENA_BYTES);
        memcpy({name}_input(), sample, sizeof sample);
        poison_begin(&{name}_poison, {name}_input() - {upper}_INPUT_OFFSET);
        fwrite({name}_infer(), 1, {upper}_OUTPUT_BYTES, stdout);
    }}
}}
"""
BY_ROWS = """
static void {run}(void) {{
    {name}_init();
    for (int turn = 0; turn < {turns}; turn++) {{
        const int8_t *output = NULL;
        poison_begin(&{name}_poison, {name}_arena);
        while (output == NULL) {{
            take({name}_input_row(), {upper}_INPUT_ROW_BYTES);
            output = {name}_row();
        }}
        fwrite(output, 1, {upper}_OUTPUT_BYTES, stdout);
    }}
}}
"""
MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "poison.h"
{includes}
static void take(int8_t *to, size_t bytes) {{
    if (fread(to, 1, bytes, stdin) != bytes) {{
        exit(3);
    }}
}}
{functions}
int main(int count, char **arguments) {{
    const int first = count > 1 ? atoi(arguments[1]) : 0;
{calls}    return 0;
}}
"""


@dataclass(frozen=True)
class Failure:
    """A graph whose results differ, and the command that shows it again."""

    number: int
    what: str

    def __str__(self) -> str:
        return f"graph {self.number}: {self.what}\n  again: make fuzz GRAPHS=1 SEED={self.number}"


@dataclass(frozen=True)
class Case:
    """One schedule of one graph; outputs [n, …] are what TFLM gives for the inputs."""

    number: int
    name: str
    how: str
    program: Program
    inputs: Array
    outputs: Array


@cache
def generators() -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """(all, those that need height and width): functions (draw, now) of tests.support.random_*."""
    rules: list[Rule] = []
    spatial: list[Rule] = []
    for found in pkgutil.iter_modules(tests.support.__path__, "tests.support."):
        if not found.name.startswith("tests.support.random_"):
            continue
        module = importlib.import_module(found.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            own = function.__module__ == module.__name__ and not name.startswith("_")
            if own and list(inspect.signature(function).parameters) == ["draw", "now"]:
                rules.append(function)
        for name in ("SPATIAL", "MAPS"):
            spatial += getattr(module, name, ())
    return tuple(rules), tuple(dict.fromkeys(spatial))


@st.composite
def candidates(draw: st.DrawFn) -> RandomModel:
    change = plant if draw(st.booleans()) else None
    rules, spatial = generators()
    chosen = rules if draw(st.booleans()) else spatial  # the latter can stream
    largest = draw(st.sampled_from([9, 9, 16]))
    return draw(models(chosen, LENGTH, change, largest, spatial))


def sample(strategy: st.SearchStrategy[Value], number: int) -> Value:
    """One value of a strategy, the same for the same number."""
    found: list[Value] = []

    @seed(number)
    @settings(
        max_examples=2,  # the first is always the smallest
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Value) -> None:
        found.append(value)

    collect()
    return found[-1]


def cases(number: int, folder: Path) -> Iterator[Case]:
    """The schedules of a graph, once NumPy's results are TFLM's, before and after the passes."""
    model = sample(candidates(), number)
    path = folder / f"g{number}.tflite"
    path.write_bytes(model.content)
    raw = load_model(path)
    graph, _ = through_passes(raw, None)
    expected = [tflm(model.content, x) for x in model.inputs]
    for which, what in ((raw, "before the passes"), (graph, "after the passes")):
        for x, y in zip(model.inputs, expected, strict=True):
            found = evaluate(which, {which.inputs[0]: x.reshape(which[which.inputs[0]].shape)})
            np.testing.assert_array_equal(found[which.outputs[0]].ravel(), y.ravel(), what)
    inputs, outputs = np.stack(model.inputs), np.stack(expected)
    for how, program in schedules(graph, number):
        yield Case(number, f"g{number}_{how}", how, program, inputs, outputs)


def schedules(graph: Graph, number: int) -> Iterator[tuple[str, Program]]:
    """Two or three, by turns: as a build does it or under a budget, cut at random, and by rows."""
    default = schedule(graph)
    if number % 2:
        yield "default", default
    else:
        least = schedule(graph, arena=1)
        size = (least.arena_bytes + default.arena_bytes) // 2
        yield "budget", least if number % 4 else schedule(graph, arena=size)
    cut = sample(programs(graph), number)
    if cut is not None and cut.streamed:
        yield "cut", cut
    if any(tensor.storage == "state" for tensor in graph.tensors.values()):
        return  # which takes whole inputs only
    rows = sample(programs(graph, input_rows=True), number)
    if rows is not None:
        yield "rows", rows


def check(numbers: Sequence[int], folder: Path) -> list[Failure]:
    """What fails of the graphs with these numbers."""
    failures: list[Failure] = []
    found: list[Case] = []
    for number in numbers:
        try:
            found += list(cases(number, folder))
        except Exception as error:  # whatever it is, it belongs to this graph
            failures.append(Failure(number, f"{type(error).__name__}: {error}"))
    if not found:
        return failures
    try:
        build(found, folder)
    except subprocess.CalledProcessError as error:
        if len(numbers) > 1:  # which one is it?
            return [failure for number in numbers for failure in check([number], folder)]
        return [Failure(numbers[0], f"the generated C does not compile: {error.stderr[:2000]}")]
    for defines in ((), *((variant,) for variant in VARIANTS)):
        failures += run(found, link(folder, defines), " ".join(defines) or "portable")
    return failures


def build(found: Sequence[Case], folder: Path) -> None:
    """The object of a program with all the cases; CalledProcessError if it does not compile."""
    functions = []
    for case in found:
        block = parameter_block(case.program.graph)
        compiled = Compiled(case.name, case.program, None, block, None)
        text = BY_ROWS if write(compiled, folder).input_rows else WHOLE
        upper, turns = case.name.upper(), len(case.inputs)
        functions.append(plan_text(f"{case.name}_poison", case.program))
        functions.append(text.format(run=f"run_{case.name}", name=case.name, upper=upper,
                                     turns=turns))  # fmt: skip
    main = MAIN.format(
        includes="\n".join(f'#include "{case.name}.c"' for case in found),
        functions="".join(functions),
        calls="".join(
            f"    if (first <= {index}) {{\n        run_{case.name}();\n        fflush(stdout);\n"
            "    }\n"
            for index, case in enumerate(found)
        ),
    )
    (folder / "main.c").write_text(main)
    here = f"-I{HEADER.parent}"
    command = ["gcc", *FLAGS, "-DTK_TRACE=1", f"-I{folder}", here, "-c", "main.c", "-o", "main.o"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def link(folder: Path, defines: tuple[str, ...]) -> Path:
    program = folder / f"main{''.join(defines)}"
    objects = map(str, runtime_objects(*defines))
    command = ["gcc", *FLAGS, str(folder / "main.o"), *objects, "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def run(found: Sequence[Case], program: Path, kernels: str) -> list[Failure]:
    """Failures of a linked program; goes on behind a case that a sanitizer stops."""
    failures: list[Failure] = []
    first = 0
    while first < len(found):
        stream = b"".join(case.inputs.tobytes() for case in found[first:])
        result = subprocess.run([str(program), str(first)], input=stream, capture_output=True)
        output = result.stdout
        for case in found[first:]:
            size = case.outputs.nbytes
            if len(output) < size:
                break
            actual = np.frombuffer(output[:size], np.int8).reshape(case.outputs.shape)
            output, first = output[size:], first + 1
            if not np.array_equal(actual, case.outputs):
                bad = np.argwhere(actual != case.outputs)
                what = f"{len(bad)} outputs of C differ, first {bad[0].tolist()}"
                failures.append(Failure(case.number, f"{what} ({case.how}, {kernels})"))
        else:
            break
        report = result.stderr.decode(errors="replace")[:2000]
        case, first = found[first], first + 1
        failures.append(Failure(case.number, f"C stopped ({case.how}, {kernels}): {report}"))
    return failures


def fuzz(
    first: int, count: int, report: Callable[[int, list[Failure]], None] | None = None
) -> list[Failure]:
    """Failures among graphs first … first + count - 1; `report` hears of each batch."""
    failures: list[Failure] = []
    for start in range(first, first + count, BATCH):
        numbers = range(start, min(start + BATCH, first + count))
        with tempfile.TemporaryDirectory() as folder:
            new = check(numbers, Path(folder))
        failures += new
        if report is not None:
            report(numbers[-1] + 1 - first, new)
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--graphs", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first (default 0)")
    options = parser.parse_args()
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("graphs", total=options.graphs)

        def report(done: int, new: list[Failure]) -> None:
            progress.update(task, completed=done)
            for failure in new:
                progress.console.print(str(failure), markup=False)

        failures = fuzz(options.seed, options.graphs, report)
    different = len({failure.number for failure in failures})
    print(f"{options.graphs} graphs from seed {options.seed}: {different} fail")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
