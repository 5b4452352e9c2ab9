"""Generated C under sanitizers, quickly: the runtime is compiled once, then only the model."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tests.support.kernels import CACHE, RUNTIME
from tinykit.codegen import Compiled, Manifest, write
from tinykit.ir import Array, Graph
from tinykit.schedule import Program
from tinykit.schedule.choice import Cut
from tinykit.schedule.facts import Facts
from tinykit.schedule.lives import lives
from tinykit.schedule.parameters import parameter_block
from tinykit.schedule.planner import assemble
from tinykit.schedule.segments import Segment, alone, overhead, stream

FLAGS = (
    *("-std=c11", "-O1", "-g", "-ffp-contract=off", "-fsanitize=address,undefined"),
    *("-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion"),
    *("-Wshadow", "-Werror", f"-I{RUNTIME / 'include'}"),
)
WHOLE = """
#include <stdio.h>
#include <string.h>
#include "{name}.h"
int main(void) {{
    static int8_t sample[{upper}_INPUT_BYTES];
    {name}_init();
    while (fread(sample, 1, sizeof sample, stdin) == sizeof sample) {{
        memset({name}_input() - {upper}_INPUT_OFFSET, 0x55, {upper}_ARENA_BYTES);
        memcpy({name}_input(), sample, sizeof sample);
        fwrite({name}_infer(), 1, {upper}_OUTPUT_BYTES, stdout);
    }}
    return 0;
}}
"""
BY_ROWS = """
#include <stdio.h>
#include <string.h>
#include "{name}.h"
int main(void) {{
    static int8_t row[{upper}_INPUT_ROW_BYTES];
    {name}_init();
    while (fread(row, 1, sizeof row, stdin) == sizeof row) {{
        memcpy({name}_input_row(), row, sizeof row);
        const int8_t *output = {name}_row();
        if (output != NULL) {{
            fwrite(output, 1, {upper}_OUTPUT_BYTES, stdout);
        }}
    }}
    return 0;
}}
"""


def runtime_objects(*defines: str) -> list[Path]:
    """The runtime under sanitizers, compiled once per content.

    defines: macros, for the code of cores that this machine does not have
    """
    flags = (*FLAGS, *(f"-D{define}" for define in defines))
    digest = hashlib.sha256(" ".join(flags).encode())
    for path in sorted(RUNTIME.rglob("*.[ch]")):
        digest.update(path.read_bytes())
    folder = CACHE / digest.hexdigest()[:16]
    objects = []
    for source in sorted(RUNTIME.glob("src/*.c")):
        made = folder / f"{source.stem}.o"
        objects.append(made)
        if not made.exists():
            folder.mkdir(parents=True, exist_ok=True)
            command = ["gcc", *flags, "-c", str(source), "-o", str(made)]
            subprocess.run(command, check=True)
    return objects


def run_program(program: Program, inputs: Array, folder: Path) -> Array:
    """The outputs for several inputs, from an arena full of noise each time."""
    graph = program.graph
    manifest = write(Compiled("model", program, None, parameter_block(graph), None), folder)
    assert manifest.memory.sram["arena"] == program.arena_bytes
    return run_generated(manifest, inputs, folder)


def run_generated(manifest: Manifest, inputs: Array, folder: Path) -> Array:
    text = BY_ROWS if manifest.input_rows else WHOLE
    main = folder / "main.c"
    main.write_text(text.format(name=manifest.name, upper=manifest.name.upper()))
    sources = [main, folder / f"{manifest.name}.c", *runtime_objects()]
    command = ["gcc", *FLAGS, f"-I{folder}", *map(str, sources), "-o", str(folder / "main")]
    subprocess.run(command, check=True)
    result = subprocess.run(
        [str(folder / "main")], input=np.ascontiguousarray(inputs).tobytes(), capture_output=True
    )
    assert result.returncode == 0, result.stderr.decode()
    shape = (len(inputs), *manifest.output.shape)
    return np.frombuffer(result.stdout, np.int8).reshape(shape)


@st.composite
def programs(draw: st.DrawFn, graph: Graph, input_rows: bool = False) -> Program | None:
    """The graph, cut at random; None if its input cannot arrive by rows."""
    facts = Facts(graph, input_rows=input_rows)
    cut: list[Segment] = []
    first, count = 0, len(graph.ops)
    least = max((i for i, _ in facts.readers[graph.inputs[0]]), default=0) if input_rows else 0
    while first < count:
        end = first
        while end < count and facts.forms[end] is not None:
            end += 1
        low = least if first == 0 else first
        if input_rows and first == 0 and end <= least:
            return None
        last = draw(st.integers(low, end - 1)) if end > low else first
        streams = last > first or (input_rows and first == 0)
        cut.append(stream(facts, first, last) if streams else alone(facts, first))
        first = last + 1
    price = sum(overhead(facts, segment) for segment in cut)
    peak = max((lives(facts, segment).peak() for segment in cut), default=0)
    return assemble(facts, Cut(tuple(cut), peak, price))
