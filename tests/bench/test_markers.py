"""Which call of generated code belongs to which layer, in straight lines and in loops over rows."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.measuring.markers import Markers, find_markers
from tinykit.build.compilers import find_compiler
from tinykit.build.image import Image, read_image
from tinykit.errors import BuildError

KERNELS = """
volatile int sink;
typedef struct { int channels; } tk_rows;
__attribute__((noinline)) void tk_conv(const tk_rows *r, int row) { sink += r->channels * row; }
__attribute__((noinline)) void tk_add(const tk_rows *rows) { sink += rows->channels; }
__attribute__((noinline)) int tk_step_begin(const tk_rows *rows) { return rows->channels < sink; }
__attribute__((noinline)) void tk_step_end(const tk_rows *rows) { sink -= rows->channels; }
"""

MODEL = """
typedef struct { int channels; } tk_rows;
void tk_conv(const tk_rows *rows, int row);
void tk_add(const tk_rows *rows);
int tk_step_begin(const tk_rows *rows);
void tk_step_end(const tk_rows *rows);
static const tk_rows m_first = {
    3
};
static const tk_rows m_second = {
    5
};
static const tk_rows m_sum = {
    7
};
static void __attribute__((noinline)) m_segment(void)
{
    /* first: conv, a row at a time */
    for (int row = 0; row < 9; row++) {
        tk_conv(&m_first, row);
        if (row > 1) {
            tk_conv(&m_second,
                    row - 2);
        }
    }
}
void m_infer(void)
{
    m_segment();
    /* sum: add */
    tk_add(&m_sum);
    /* sum again: add, with the descriptor of sum */
    tk_add(&m_sum);
}
int m_train(void)
{
    if (tk_step_begin(&m_first) != 0) {
        return 1;
    }
    /* sum: add */
    tk_add(&m_sum);
    /* first/update: update, with the descriptor of first */
    tk_conv(&m_first, 1);
    tk_step_end(&m_sum);
    return 0;
}
void m_init(void) { tk_conv(&m_first, 0); }
int main(void) { m_init(); m_infer(); return m_train(); }
"""


def linked(folder: Path) -> tuple[Image, Path]:
    try:
        compiler = find_compiler()
    except BuildError as error:
        pytest.skip(error.message)
    if compiler.kind != "gcc":
        pytest.skip("needs GCC")
    (folder / "kernels.c").write_text(KERNELS)
    (folder / "m.c").write_text(MODEL)
    flags = ["-mcpu=cortex-m4", "-mthumb", "-O2", "-g", "-nostdlib", "-Wl,-e,main", "-Wl,-Ttext=0"]
    command = [f"{compiler.path}gcc", *flags, "kernels.c", "m.c", "-o", "x.elf"]
    subprocess.run(command, cwd=folder, check=True)
    return read_image(folder / "x.elf"), folder / "m.c"


def test_calls_in_loops_and_with_shared_descriptors(tmp_path: Path) -> None:
    image, source = linked(tmp_path)
    markers: Markers = find_markers(image, source, "m", ["first", "second", "sum", "sum again"])
    assert [markers.calls[address] for address in sorted(markers.calls)] == [0, 1, 2, 3]
    assert "-mcpu=cortex-m4" in markers.flags[0]
    for name, generated in (("m_infer", True), ("m_segment", True), ("tk_add", False)):
        address = image.address_of(name)
        assert address is not None
        assert markers.generated(address) is generated
    init = image.address_of("m_init")
    assert init is not None
    assert not markers.generated(init)  # infer() does not call it


def test_a_training_steps_own_calls_belong_to_no_layer(tmp_path: Path) -> None:
    image, source = linked(tmp_path)
    markers = find_markers(image, source, "m", ["sum", "first/update"], function="train")
    assert [markers.calls[address] for address in sorted(markers.calls)] == [2, 0, 1, 2]
    train, infer = image.address_of("m_train"), image.address_of("m_infer")
    assert train is not None
    assert infer is not None
    assert markers.generated(train)
    assert not markers.generated(infer)


def test_an_op_without_a_call_is_named(tmp_path: Path) -> None:
    image, source = linked(tmp_path)
    ops = ["first", "second", "sum", "sum again", "reshape"]
    with pytest.raises(BuildError, match="no call instruction belongs to reshape"):
        find_markers(image, source, "m", ops)
    assert find_markers(image, source, "m", ops, silent=[4]).calls
