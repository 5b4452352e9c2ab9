"""Models whose input arrives row by row, and models that share an arena."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.architectures import residual
from tests.support.networks import Network
from tests.support.streamed import FLAGS, runtime_objects
from tinykit.boards import load_board
from tinykit.build import build_firmware
from tinykit.codegen import Compiled, Manifest, generate, write
from tinykit.codegen.shared import write_shared_arena
from tinykit.errors import BuildError, PlanError, UsageError
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.schedule.choice import Cut
from tinykit.schedule.facts import Facts
from tinykit.schedule.lives import lives
from tinykit.schedule.parameters import parameter_block
from tinykit.schedule.planner import assemble
from tinykit.schedule.segments import stream
from tinykit.training.plan import Plan, Update

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


@needs_gcc
def test_rows_give_what_the_whole_input_gives(shared: Path, tmp_path: Path) -> None:
    """Images from a camera, two of them, in less memory than one takes."""
    graph = load_model(shared / "models" / "mlperf_tiny" / "vww_96_int8.tflite")
    whole = generate(graph, tmp_path / "whole", name="vww")
    rows = generate(graph, tmp_path / "rows", name="vww", input_rows=True)
    assert rows.input_rows
    assert rows.memory.sram["arena"] < whole.input.bytes
    hosts = [HostModel(tmp_path / name) for name in ("whole", "rows")]
    random = np.random.default_rng(3)
    for _ in range(2):
        x = random.integers(-128, 128, whole.input.shape).astype(np.int8)
        a, b = (host.infer(x) for host in hosts)
        np.testing.assert_array_equal(a, b)


@needs_gcc
def test_init_begins_a_new_input(tmp_path: Path) -> None:
    net, output = residual()
    generate(net.graph(output), tmp_path, name="model", input_rows=True)
    host = HostModel(tmp_path)
    x = net.inputs(1)[0]
    expected = host.infer(x)
    host._function("row")()  # the first rows of an input that never ends
    host._function("row")()
    host.reset()
    np.testing.assert_array_equal(host.infer(x), expected)


STEPS = """
#include <stdio.h>
#include <string.h>
#include "model.c"
int32_t tk_trace_last;
uint32_t tk_trace_crc;
void tk_trace_point(int32_t op, const void *data, size_t bytes)
{
    (void)data;
    (void)bytes;
    printf("%d ", (int)op);
}
int main(void)
{
    model_init();
    do {
        printf("-1 ");
        memset(model_input_row(), 0, MODEL_INPUT_ROW_BYTES);
    } while (model_row() == NULL);
    return 0;
}
"""


@needs_gcc
@pytest.mark.parametrize("top", [0, 2, 5])
def test_c_takes_the_steps_of_the_schedule(top: int, tmp_path: Path) -> None:
    """Rows of the output that are made of padding alone as well: the first input row is there."""
    net = Network((1, 6, 4, 2))
    padded = net.pad("x", [(0, 0), (top, 1), (1, 1), (0, 0)])
    output = net.conv(net.conv(padded, 3, padding="valid"), 2, (1, 1), stride=(2, 2))
    graph = net.graph(output)
    facts = Facts(graph, input_rows=True)
    segment = stream(facts, 0, len(graph.ops) - 1)
    program = assemble(facts, Cut((segment,), lives(facts, segment).peak(), 0))
    write(Compiled("model", program, None, parameter_block(graph), None), tmp_path)
    (tmp_path / "main.c").write_text(STEPS)
    objects = [path for path in map(str, runtime_objects()) if not path.endswith("/trace.o")]
    command = ["gcc", *FLAGS, "-DTK_TRACE=1", str(tmp_path / "main.c"), *objects]
    subprocess.run([*command, "-o", str(tmp_path / "main")], check=True)
    result = subprocess.run([str(tmp_path / "main")], capture_output=True, check=True)
    assert list(map(int, result.stdout.split())) == segment.steps.tolist()


def test_what_cannot_work_is_refused(tmp_path: Path) -> None:
    net, output = residual()
    plan = Plan(update=(Update(layers="head", weights=1.0),))
    with pytest.raises(UsageError, match="row by row cannot be trained on"):
        generate(net.graph(output), tmp_path, name="model", plan=plan, input_rows=True)
    flat = Network((1, 12))
    with pytest.raises(PlanError, match="the input cannot arrive row by row"):
        generate(flat.graph(flat.dense("x", 3)), tmp_path, name="model", input_rows=True)
    generate(net.graph(output), tmp_path, name="model", input_rows=True)
    assert not (tmp_path / "tinykit_model.h").exists()
    with pytest.raises(BuildError, match="the link needs a whole input"):
        build_firmware(tmp_path, load_board("mps2_an386"), tmp_path / "work")


@needs_gcc
def test_two_models_share_an_arena(tmp_path: Path) -> None:
    """One that is whole, one whose rows arrive; each as if it were alone."""
    manifests: list[Manifest] = []
    expected, samples_of = [], []
    for index, name in enumerate(("first", "second")):
        net = Network((1, 6 + index, 5, 2), seed=index)
        graph = net.graph(net.dense(net.mean(net.conv("x", 5 + index)), 3))
        manifests.append(generate(graph, tmp_path, name=name, input_rows=index == 1))
        samples_of.append(net.inputs(1)[0])
        expected.append(HostModel(tmp_path).infer(samples_of[-1]).tobytes())
        (tmp_path / "model.json").unlink()
    size = write_shared_arena(manifests, tmp_path, "arena")
    assert size == max(manifest.memory.sram["arena"] for manifest in manifests)
    samples = "".join(
        f"static const int8_t sample_{i}[] = {{{', '.join(map(str, x.ravel()))}}};\n"
        for i, x in enumerate(samples_of)
    )
    body = """
    for (int turn = 0; turn < 2; turn++) {
        memcpy(first_input(), sample_0, FIRST_INPUT_BYTES);
        fwrite(first_infer(), 1, FIRST_OUTPUT_BYTES, stdout);
        const int8_t *output = NULL;
        for (const int8_t *x = sample_1; output == NULL; x += SECOND_INPUT_ROW_BYTES) {
            memcpy(second_input_row(), x, SECOND_INPUT_ROW_BYTES);
            output = second_row();
        }
        fwrite(output, 1, SECOND_OUTPUT_BYTES, stdout);
    }
"""
    main = tmp_path / "main.c"
    main.write_text(
        '#include <stdio.h>\n#include <string.h>\n#include "first.h"\n#include "second.h"\n'
        f"{samples}int main(void) {{\n    first_init();\n    second_init();\n{body}"
        "    return 0;\n}\n"
    )
    sources = [main, *(tmp_path / f"{n}.c" for n in ("first", "second", "arena"))]
    command = ["gcc", *FLAGS, f"-I{tmp_path}", "-include", str(tmp_path / "arena.h")]
    command += [*map(str, [*sources, *runtime_objects()]), "-o", str(tmp_path / "main")]
    subprocess.run(command, check=True)
    result = subprocess.run([str(tmp_path / "main")], capture_output=True, check=True)
    assert result.stdout == b"".join(expected) * 2
    symbols = subprocess.run(["nm", str(tmp_path / "main")], capture_output=True, text=True)
    assert "first_arena" not in symbols.stdout
    assert "second_arena" not in symbols.stdout
