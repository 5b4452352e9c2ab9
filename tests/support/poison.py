"""Which bytes of the arena nothing needs any more, after each step: from the replay of a plan.

The replay shares no code with the planner. A byte is needed when the next step that uses it reads
it. Everything else is overwritten (poison.h): what a dead tensor leaves, scratch, and the place of
a tensor that is about to be written. Results must not change.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.support.replay import replay
from tests.support.streamed import FLAGS, runtime_objects
from tinykit.codegen import Compiled, write
from tinykit.ir import Array
from tinykit.schedule import Program

HEADER = Path(__file__).with_name("poison.h")


def dead_after(program: Program) -> tuple[list[tuple[int, Array]], Array]:
    """([(op, ranges [n, 2] of offset and bytes) for each trace point], ranges before the first)."""
    arena = replay(program)
    index = {op.name: i for i, op in enumerate(program.graph.ops)}
    needed = np.zeros(program.arena_bytes, np.bool_)
    uses = list(arena.uses)
    points: list[tuple[int, Array]] = []
    nothing = np.zeros((0, 2), np.int64)

    def back_to(step: int) -> None:
        """`needed` right after a step."""
        while uses and uses[-1].step > step:
            use = uses.pop()
            needed[use.bytes] = not use.writes

    for step in reversed(arena.steps):
        back_to(step.step)
        made = len(step.op.outputs) + (0 if step.streamed else len(step.op.updates))
        for last in range(made if step.made else 0):
            points.append((index[step.op.name], nothing if last else ranges(~needed)))
    back_to(0)
    return points[::-1], ranges(~needed)


def ranges(mask: Array) -> Array:
    """[n, 2]: offset and length of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return np.stack([edges[::2], edges[1::2] - edges[::2]], axis=1)


def plan_text(name: str, program: Program) -> str:
    """C: `static const poison_plan NAME`."""
    points, before = dead_after(program)
    parts = [before, *(found for _, found in points)]
    ends = np.cumsum([len(part) for part in parts])
    return (
        _array("int32_t", f"{name}_ops", [op for op, _ in points])
        + _array("uint32_t", f"{name}_ends", ends.tolist())
        + _array("uint32_t", f"{name}_ranges", np.concatenate(parts).ravel().tolist())
        + f"static const poison_plan {name} = {{{len(points)}, {name}_ops, {name}_ends, "
        f"{name}_ranges}};\n"
    )


def _array(kind: str, name: str, values: Sequence[int]) -> str:
    numbers = ", ".join(map(str, values or [0]))
    return f"static const {kind} {name}[] = {{{numbers}}};\n"


MAIN = """
#include "poison.h"
#include "model.c"
{plans}
static int8_t sample[MODEL_INPUT_BYTES];
static int poisons;
static void fill(const poison_plan *plan) {{
    memset(model_arena, 0x33, sizeof model_arena);
    memcpy(model_input(), sample, sizeof sample);
    poison_now = NULL;
    if (poisons) {{
        poison_begin(plan, model_arena);
    }}
}}
int main(int count, char **arguments) {{
    int32_t label;
    poisons = count > 1 && arguments[1][0] == '1';
    model_init();
    while (fread(&label, 1, sizeof label, stdin) == sizeof label &&
           fread(sample, 1, sizeof sample, stdin) == sizeof sample) {{
        fill(&infer_plan);
        fwrite(model_infer(), 1, MODEL_OUTPUT_BYTES, stdout);
{training}    }}
    fprintf(stderr, "%llu", (unsigned long long)poison_bytes);
    return 0;
}}
"""
TRAINING = """        fill(&train_plan);
        const tk_target target = {.label = label};
        const tk_step step = model_train(&target);
        fwrite(&step, 1, sizeof step, stdout);
        fwrite(model_parameters(), 1, MODEL_PARAMETER_BYTES, stdout);
"""


def build_poisoned(compiled: Compiled, folder: Path) -> Path:
    """A program under sanitizers that infers and trains on what it reads (see `run_poisoned`)."""
    assert compiled.name == "model"
    write(compiled, folder)
    plans = plan_text("infer_plan", compiled.infer)
    if compiled.train is not None:
        plans += plan_text("train_plan", compiled.train)
    training = TRAINING if compiled.train is not None else ""
    (folder / "main.c").write_text(MAIN.format(plans=plans, training=training))
    program = folder / "poisoned"
    command = ["gcc", *FLAGS, "-DTK_TRACE=1", f"-I{folder}", f"-I{HEADER.parent}"]
    command += [str(folder / "main.c"), *map(str, runtime_objects()), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def run_poisoned(
    program: Path, samples: Sequence[tuple[Array, int]], poison: bool
) -> tuple[bytes, int]:
    """(every output, answer of a step and parameters after it, bytes that were overwritten)."""
    stream = b"".join(label.to_bytes(4, "little") + x.tobytes() for x, label in samples)
    arguments = [str(program), str(int(poison))]
    result = subprocess.run(arguments, input=stream, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()[:2000]
    return result.stdout, int(result.stderr)
