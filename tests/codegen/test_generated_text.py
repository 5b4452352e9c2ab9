"""Generated C: clean under strict compilers, the same every time, and as large as it says."""

from __future__ import annotations

import difflib
import shutil
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tests.support.architectures import (
    depthwise_multipliers,
    one_dimensional,
    pools,
    residual,
    separate_activations,
)
from tests.support.networks import Network
from tinykit.codegen import Manifest, generate
from tinykit.codegen.constants import number
from tinykit.errors import UsageError
from tinykit.host import HostModel
from tinykit.ir import Graph
from tinykit.ops.convolution_sums import folded_bias
from tinykit.resources import resource_path
from tinykit.training.plan import Optimizer, Plan, Update

RUNTIME = resource_path("firmware") / "lib" / "tinykit"
STRICT = (
    *("-std=c11", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion"),
    *("-Wshadow", "-Werror", f"-I{RUNTIME / 'include'}"),
)
ARM = ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
COMPILERS = (("gcc",), ARM, ("arm-none-eabi-gcc", "-mcpu=cortex-m0plus", "-mthumb"))
ARCHITECTURES = (residual, depthwise_multipliers, pools, one_dimensional, separate_activations)
PLANS = {
    "inference": None,
    "everything": Plan(update=(Update(layers="all", bias=True, weights=1.0),)),
    "parts": Plan(
        optimizer=Optimizer(master="int8", accumulate=2, schedule="cosine", total_steps=100),
        update=(Update(layers="last 4", bias=True, weights=0.3),),
    ),
}


def made(graph_of: object, plan: Plan | None, folder: Path, name: str = "model") -> Manifest:
    assert callable(graph_of)
    net, output = graph_of()
    samples = net.inputs(4)
    labels = [0, 1, 0, 1]
    return generate(net.graph(output), folder, name=name, plan=plan, samples=samples, labels=labels)


@pytest.mark.parametrize("compiler", COMPILERS, ids=lambda c: "-".join(c[:2]))
@pytest.mark.parametrize("plan", PLANS)
def test_compiles_without_warnings(plan: str, compiler: tuple[str, ...], tmp_path: Path) -> None:
    if not shutil.which(compiler[0]):
        pytest.skip(f"{compiler[0]} is not installed")
    for index, architecture in enumerate(ARCHITECTURES):
        folder = tmp_path / str(index)
        made(architecture, PLANS[plan], folder)
        for flags in (("-O2",), ("-O0", "-DTK_TRACE=1")):
            command = [*compiler, *flags, *STRICT, f"-I{folder}", "-c", str(folder / "model.c")]
            subprocess.run([*command, "-o", str(folder / "model.o")], check=True)


def test_headers_are_cpp(tmp_path: Path) -> None:
    if not shutil.which("g++"):
        pytest.skip("g++ is not installed")
    made(residual, PLANS["everything"], tmp_path)
    source = tmp_path / "sketch.cpp"
    source.write_text('#include "tinykit_model.h"\nint main() { tk_model_init(); return 0; }\n')
    subprocess.run(
        ["g++", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{tmp_path}",
         f"-I{RUNTIME / 'include'}", str(source)],
        check=True,
    )  # fmt: skip


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda f: f.__name__)
def test_exact_items_equal_the_object_file(architecture: object, plan: str, tmp_path: Path) -> None:
    """Every object of the object file is an item of the manifest, every item in the object file,
    and the sums are the manifest's."""
    if not shutil.which(ARM[0]):
        pytest.skip(f"{ARM[0]} is not installed")
    manifest = made(architecture, PLANS[plan], tmp_path)
    target = tmp_path / "model.o"
    subprocess.run(
        [*ARM, "-O2", *STRICT, f"-I{tmp_path}", "-c", str(tmp_path / "model.c"), "-o", str(target)],
        check=True,
    )
    with target.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab").iter_symbols()
        objects = {s.name: s["st_size"] for s in symbols if s["st_info"]["type"] == "STT_OBJECT"}
    assert objects.keys() == manifest.symbols.keys()
    totals: dict[str, int] = {}
    for name, size in objects.items():
        totals[manifest.symbols[name]] = totals.get(manifest.symbols[name], 0) + size
    expected = {**manifest.memory.sram, **manifest.memory.flash}
    assert totals == {item: size for item, size in expected.items() if size}


def test_text_is_the_same_every_time(tmp_path: Path) -> None:
    for plan in PLANS.values():
        first, second = tmp_path / "first", tmp_path / "second"
        made(residual, plan, first)
        made(residual, plan, second)
        for path in first.iterdir():
            assert path.read_text() == (second / path.name).read_text(), path.name
            assert max(len(line) for line in path.read_text().splitlines()) < 200, path.name


def test_one_changed_weight_changes_few_lines(tmp_path: Path) -> None:
    net, output = residual()
    graph = net.graph(output)
    name = graph.of_kind("conv2d")[1].inputs[1]
    data = graph[name].value.copy()
    data.flat[5] ^= 1
    changed = graph.with_tensors([replace(graph[name], data=data)])
    texts = []
    for index, version in enumerate((graph, changed)):
        generate(version, tmp_path / str(index), name="model")
        texts.append((tmp_path / str(index) / "model.c").read_text().splitlines())
    changes = [line for line in difflib.ndiff(*texts) if line[0] in "+-"]
    assert len(changes) == 4  # a line of weights, and one of biases with the zero point's part


@pytest.mark.parametrize("name", ["tk", "tk_model", "tinykit", "TinyKit model"])
def test_names_of_the_runtime_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the runtime's own names"):
        made(residual, None, tmp_path, name)


def small_model(seed: int) -> tuple[Network, Graph]:
    net = Network((1, 6, 6, 2), seed=seed)
    x = net.conv("x", 5, (3, 3), (2, 2))
    return net, net.graph(net.dense(net.mean(x), 3), "small")


def test_models_share_one_program(tmp_path: Path) -> None:
    """Two models that train, linked with one runtime, do not disturb each other."""
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    plan = PLANS["everything"]
    inputs, hosts = [], []
    for index, name in enumerate(("first", "second")):
        net, graph = small_model(40 + index)
        samples = net.inputs(4)
        generate(graph, tmp_path / name, name=name, plan=plan, samples=samples, labels=[0, 1, 2, 0])
        inputs.append(samples[0])
        hosts.append(HostModel(tmp_path / name))
    for _ in range(3):
        for host, sample in zip(hosts, inputs, strict=True):
            host.train(sample, 1)
    crcs = [zlib.crc32(host.parameters()) for host in hosts]
    arrays = "\n".join(
        f"static const int8_t sample_{i}[] = {{{', '.join(map(str, x.ravel()))}}};"
        for i, x in enumerate(inputs)
    )
    body = ""
    for turn in range(6):
        i, name = turn % 2, ("first", "second")[turn % 2]
        body += f"    memcpy({name}_input(), sample_{i}, {name.upper()}_INPUT_BYTES);\n"
        body += f"    if ({name}_train(&target).status != TK_OK) return 1;\n"
    checks = "".join(
        f"    if (tk_crc32(0, {name}_parameters(), {name.upper()}_PARAMETER_BYTES) != {crc}u)"
        f" return {index + 2};\n"
        for index, (name, crc) in enumerate(zip(("first", "second"), crcs, strict=True))
    )
    main = tmp_path / "main.c"
    main.write_text(
        '#include <string.h>\n#include "first.h"\n#include "second.h"\n'
        f"{arrays}\nint main(void)\n{{\n    const tk_target target = {{.label = 1}};\n"
        f"    first_init();\n    second_init();\n{body}{checks}    return 0;\n}}\n"
    )
    sources = [main, *(tmp_path / n / f"{n}.c" for n in ("first", "second"))]
    program = tmp_path / "program"
    command = ["gcc", "-O1", *STRICT, *(f"-I{tmp_path / n}" for n in ("first", "second"))]
    command += [*map(str, sources), *map(str, sorted(RUNTIME.glob("src/*.c")))]
    subprocess.run([*command, "-o", str(program)], check=True)
    assert subprocess.run([str(program)], check=False).returncode == 0


def test_arrays_hold_the_models_weights(tmp_path: Path) -> None:
    """Numbers in the text are the graph's, in the order in which kernels read them."""
    _, graph = small_model(50)
    conv = graph.of_kind("conv2d")[0]
    generate(graph, tmp_path, name="model")
    text = (tmp_path / "model.c").read_text()
    biases = folded_bias(graph, conv)
    assert biases is not None
    assert ", ".join(number("int32_t", bias) for bias in biases.tolist()[:4]) in text
    assert number("int32_t", -(2**31)) == "INT32_MIN"
    kernel = graph[conv.inputs[1]]
    assert ", ".join(map(str, kernel.stored(kernel.value)[:8])) in text
