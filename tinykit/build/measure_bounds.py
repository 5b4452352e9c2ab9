"""Measures code sizes and stack depths: `python -m tinykit.build.measure_bounds [MODEL.tflite …]`.

For every board and every compiler that is installed, the firmware is built around several models
(inferring, and training everything), and its objects are taken apart. Writes bounds.json; tables of
compilers that are not installed are kept. Takes half a minute per compiler and board. Without
arguments the models are three of those in ../shared/models (or $TINYKIT_SHARED/models).
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from tinykit.boards import Board, list_boards, load_board
from tinykit.build.bounds import (
    FORMAT,
    LEARN,
    MEMORIES,
    TABLE,
    CallCost,
    FrameCost,
    Table,
    Tables,
    Variant,
    VariantTable,
    dump_tables,
    load_tables,
    op_count,
    trained_layers,
)
from tinykit.build.compilers import Compiler, find_compiler, machine_flags, platform_dir
from tinykit.build.firmware import Firmware, build_firmware
from tinykit.build.image import read_image
from tinykit.build.objects import ObjectGraph, archive_members, read_objects
from tinykit.build.stack import RESET, UNHANDLED, StackAnalysis
from tinykit.codegen.generate import generate
from tinykit.codegen.manifest import Manifest
from tinykit.errors import BuildError, TinykitError
from tinykit.frontend.model import ModelFrontend, motion_for
from tinykit.importers import load_model
from tinykit.ir import Graph
from tinykit.resources import resource_path
from tinykit.training.plan import Plan

PREFIX = "probe_"
HEARING = "hearing"  # of a probe with a frontend
LARGE = 1 << 26
FAR = 1 << 16  # a depth that no real function has, to find where one is called
# Variables whose sizes depend on the model; bounds.py adds them.
SIZED = ("tk_link_stage", "tk_link_target")

PLANS: dict[str, str] = {
    "all": '[[update]]\nlayers = "all"\nbias = true\nweights = 1.0\n',
    "some": '[[update]]\nlayers = "last 3"\nbias = true\n'
    '[[update]]\nlayers = "head"\nbias = true\nweights = 1.0\n',
    "replay": "[guard]\n[replay]\nsamples = 4\n"
    '[[update]]\nlayers = "all"\nbias = true\nweights = 1.0\n',
}


@dataclass(frozen=True)
class Probe:
    """Generated code to build around."""

    folder: Path
    manifest: Manifest

    @property
    def variant(self) -> Variant:
        """Which of the two kinds of firmware it makes."""
        return "train" if self.manifest.trains else "infer"


_COMMENT = re.compile(rb"/\*.*?\*/|//[^\n]*", re.DOTALL)


def runtime_hash() -> str:
    """Identifies the C sources that tables were measured for; comments and layout don't matter."""
    digest = sha256()
    root = resource_path("firmware")
    for folder in ("lib", "src", "platform"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".c", ".h", ".S", ".ld"):
                text = b"".join(_COMMENT.sub(b"", path.read_bytes()).split())
                digest.update(path.relative_to(root).as_posix().encode() + text)
    return digest.hexdigest()[:16]


def shared_models() -> list[Path]:
    """A small, a residual and a large model, where the folder of shared models is."""
    root = Path(os.environ.get("TINYKIT_SHARED") or resource_path("firmware").parents[1] / "shared")
    names = ("mlperf_tiny/kws_ref_model", "mlperf_tiny/pretrainedResnet_quant", "mcunet-5fps-10c")
    return [root / "models" / f"{name}.tflite" for name in names]


def make_probes(models: Sequence[Path], folder: Path) -> list[Probe]:
    """Every model, inferring and training: the first a little, the others everything; two of
    them also keep samples, under a guard, and the first has a frontend, too."""
    probes = []
    for index, model in enumerate(models):
        graph = load_model(model)
        training = "all" if index else "some"
        kinds = ["infer", training] if index == 1 else ["infer", training, "replay"]
        if index == 0:
            kinds += [f"infer {HEARING}", f"{training} {HEARING}"]
        for name in kinds:
            text = PLANS.get(name.split()[0], "")
            frontend = _frontend(graph) if name.endswith(HEARING) else None
            out = folder / f"{model.stem}-{name.replace(' ', '-')}"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            plan = None
            if text:
                path = out.with_suffix(".toml")
                path.write_text(text)
                plan = Plan.load(path)
            try:
                manifest = generate(
                    graph, out, name=PREFIX.strip("_"), plan=plan, frontend=frontend
                )
            except TinykitError as error:
                print(f"  {out.name}: left out: {error.message}")
                continue
            probes.append(Probe(out, manifest))
    return probes


def _frontend(graph: Graph) -> ModelFrontend:
    """Of motion, whose code is the larger one, with as many axes as rows of the input allow."""
    tensor = graph[graph.inputs[0]]
    axes = max(n for n in (1, 2, 3, 5, 7) if tensor.size % n == 0)
    return motion_for((0.0,) * axes, (1.0 / tensor.quant.scale0,) * axes, tensor, None)


def measure_table(board: Board, compiler: Compiler, probes: list[Probe], work: Path) -> Table:
    """Builds all probes for a board, and takes the objects apart."""
    built = [(probe, _build(probe, board, compiler, work)) for probe in probes]
    firsts: dict[Variant, tuple[Probe, Firmware]] = {}
    for probe, firmware in built:
        firsts.setdefault(probe.variant, (probe, firmware))
    graph = _runtime_graph({variant: firmware for variant, (_, firmware) in firsts.items()})
    numbers, nodes = _numbered(graph)
    variants = {
        variant: _variant(
            variant, [b for b in built if b[0].variant == variant], graph, numbers, board
        )
        for variant in firsts
    }
    callable_ = sorted(name for name in graph.symbols if ":" not in name)
    everything = _build(firsts["train"][0], board, compiler, work, keep_all=True)
    stacks = [firmware.stack for _, firmware in built]
    return Table(
        cpu=board.cpu,
        nodes=nodes,
        symbols={name: numbers[graph.symbols[name]] for name in callable_},
        depths=_depths(everything, callable_),
        interrupts=max(stack.interrupts for stack in stacks),
        fault=max(stack.fault for stack in stacks),
        variants=variants,
    )


def _build(
    probe: Probe, board: Board, compiler: Compiler, work: Path, keep_all: bool = False
) -> Firmware:
    """Nothing is run, so memories are as large as the largest model wants them."""
    large = replace(board, sram=LARGE, sram_physical=LARGE, flash=LARGE, flash_physical=LARGE)
    return build_firmware(
        probe.folder,
        large,
        work / f"{probe.folder.name}-{board.name}-{compiler.id}{'-all' if keep_all else ''}",
        toolchain=compiler.option,
        check=False,
        settle=False,
        keep_all=keep_all,
    )


def _objects(firmware: Firmware, model: bool) -> list[tuple[str, bytes]]:
    """The objects of a build, named like "lib/conv2d": the model's, or all others."""
    root = firmware.elf.parent
    objects = []
    for path in sorted(root.rglob("*.o")):
        parts = path.relative_to(root).parts
        if ("model" in parts) == model:
            kind = "lib" if parts[0].startswith("lib") else parts[0]
            objects.append((f"{kind}/{path.name.split('.')[0]}", path.read_bytes()))
    return objects


def _runtime_graph(firmwares: dict[Variant, Firmware]) -> ObjectGraph:
    """The runtime as one graph. The firmware's own objects are in it once for each variant; their
    symbols are named like "train:main"."""
    of_training = _objects(firmwares["train"], model=False)
    library = firmwares["train"].elf.with_name("compiler-library.txt").read_text().strip()
    graph = read_objects(
        [
            *((name, data) for name, data in of_training if not name.startswith("src/")),
            *((f"rt/{name}", data) for name, data in archive_members(Path(library))),
        ]
    )
    del graph.symbols["tk_fault"]  # the firmware has its own
    for variant, firmware in firmwares.items():
        own = read_objects(
            (name.replace("src/", f"{variant}/"), data)
            for name, data in _objects(firmware, model=False)
            if name.startswith("src/")
        )
        for name, node in own.nodes.items():
            if not name.endswith(tuple(f".{variable}" for variable in SIZED)):
                refs = frozenset(own.symbols.get(ref, ref) for ref in node.refs)
                graph.nodes[name] = replace(node, refs=refs)
        graph.symbols |= {f"{variant}:{symbol}": name for symbol, name in own.symbols.items()}
    keep = graph.reach(name for name in graph.nodes if not name.startswith("rt/"))
    graph.nodes = {name: node for name, node in graph.nodes.items() if name in keep}
    graph.symbols = {symbol: name for symbol, name in graph.symbols.items() if name in keep}
    return graph


def _numbered(graph: ObjectGraph) -> tuple[dict[str, int], tuple[tuple[int, ...], ...]]:
    """Nodes as numbers: (bytes with the most padding that alignment can cost, memory, *refs)."""
    numbers = {name: index for index, name in enumerate(sorted(graph.nodes))}
    rows = []
    for name in numbers:
        node = graph.nodes[name]
        size = -(-node.size // 4) * 4 + max(0, node.align - 4)
        refs = {graph.symbols.get(ref, ref) for ref in node.refs}
        targets = sorted(numbers[ref] for ref in refs if ref in numbers and ref != name)
        rows.append((size, MEMORIES.index(node.memory), *targets))
    return numbers, tuple(rows)


def _variant(
    variant: Variant,
    built: list[tuple[Probe, Firmware]],
    graph: ObjectGraph,
    numbers: dict[str, int],
    board: Board,
) -> VariantTable:
    points = [_CodePoint.of(probe, firmware) for probe, firmware in built]
    starts = ["tk_reset", f"{variant}:main", f"{variant}:tk_fault"]
    vectors = [name for name in graph.nodes if name.endswith(":.vectors")]
    refs: set[str] = set()
    own: dict[str, list[tuple[int, int]]] = {}
    for probe, firmware in built:
        model = read_objects(_objects(firmware, model=True))
        needed = {ref for node in model.nodes.values() for ref in node.refs} & set(graph.symbols)
        refs |= needed - set(probe.manifest.kernels)
        depths = _own_depths(firmware, graph)
        if probe.manifest.keeps is not None:
            depths = {LEARN: max(depths.values())}
        for entry, depth in depths.items():
            own.setdefault(entry, []).append((trained_layers(probe.manifest), depth))
    base, calls = _link_depths(built[0][1])
    for probe, firmware in built:
        if probe.manifest.frontend is not None:
            calls = _link_depths(firmware)[1] | calls
    return VariantTable(
        roots=tuple(sorted(numbers[name] for name in graph.reach([*starts, *vectors]))),
        refs=tuple(sorted(refs)),
        code=_fit(points),
        untraced=_fit(
            [
                replace(point, bytes=point.bytes - _trace_bytes(probe, firmware.compiler, board))
                for point, (probe, firmware) in zip(points, built, strict=True)
            ]
        ),
        base=base,
        calls=calls,
        own={entry: _fit_frame(points) for entry, points in own.items()},
    )


@dataclass(frozen=True)
class _CodePoint:
    """One measurement of generated code, with the padding that the model's arrays cause."""

    calls: int
    ops: int
    bytes: int
    all_code: int

    @classmethod
    def of(cls, probe: Probe, firmware: Firmware) -> _CodePoint:
        manifest, report = probe.manifest, firmware.report
        return cls(
            calls=manifest.calls,
            ops=op_count(manifest),
            bytes=sum(report.kinds("flash").get(k, 0) for k in ("generated code", "padding")),
            all_code=report.code,
        )


def _trace_bytes(probe: Probe, compiler: Compiler, board: Board) -> int:
    """What the trace adds to a model's generated code."""
    traced, untraced = (_function_bytes(probe, compiler, board, trace) for trace in (1, 0))
    return traced - untraced


def _function_bytes(probe: Probe, compiler: Compiler, board: Board, trace: int) -> int:
    """Code of a model's functions, compiled with the platform's flags (builder/main.py)."""
    program = [compiler.path, "cc"] if compiler.kind == "zig" else [f"{compiler.path}gcc"]
    include = resource_path("firmware") / "lib" / "tinykit" / "include"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model.o"
        subprocess.run(
            [
                *(*program, *machine_flags(compiler, board.cpu, board.fpu), "-O2", "-std=c11"),
                *("-ffp-contract=off", "-fno-math-errno", "-ffunction-sections", "-g0"),
                *("-fdata-sections", f"-DTK_TRACE={trace}", f"-I{include}", f"-I{probe.folder}"),
                *(["-fno-sanitize=all", "-fomit-frame-pointer"] if compiler.kind == "zig" else []),
                *("-isystem", str(platform_dir() / "support" / "libc")),
                *("-c", str(probe.folder / f"{PREFIX.strip('_')}.c"), "-o", str(out)),
            ],
            check=True,
        )
        nodes = read_objects([("model", out.read_bytes())]).nodes
    return sum(-(-n.size // 4) * 4 for name, n in nodes.items() if ":.text" in name)


def _fit(points: list[_CodePoint]) -> CallCost:
    """The cost that is enough for every point and least too high; 8 % more for other models."""
    best = (float("inf"), CallCost(fixed=0, call=0, op=0))
    for call in range(0, 100, 2):
        for op in range(0, 60, 2):
            fixed = max(0, *(p.bytes - call * p.calls - op * p.ops for p in points))
            cost = CallCost(fixed=fixed, call=call, op=op)
            excess = [(cost.bytes(p.calls, p.ops) - p.bytes) / p.all_code for p in points]
            best = min(best, (max(excess), cost), key=lambda pair: pair[0])
    cost = best[1]
    more = 1.08
    return CallCost(
        fixed=math.ceil(cost.fixed * more),
        call=math.ceil(cost.call * more),
        op=math.ceil(cost.op * more),
    )


def _fit_frame(points: list[tuple[int, int]]) -> FrameCost:
    """The frame that is enough for every (layers, bytes) and least too high; 8 bytes more for other
    models."""
    best = (float("inf"), FrameCost(fixed=0, layer=0))
    for layer in range(0, 2000, 20):
        fixed = max(0, *(math.ceil(depth - layer * n / 100) for n, depth in points))
        excess = max(fixed + layer * n / 100 - depth for n, depth in points)
        best = min(
            best, (excess, FrameCost(fixed=fixed + 8, layer=layer)), key=lambda pair: pair[0]
        )
    return best[1]


def _model_functions(names: Iterable[str]) -> dict[str, str]:
    """The model's functions in an image: {"infer": "probe_infer", …}."""
    return {name.removeprefix(PREFIX): name for name in names if name.startswith(PREFIX)}


def _link_depths(firmware: Firmware) -> tuple[int, dict[str, int]]:
    """Stack without the model, and the depths at which functions of the model are called."""
    image = read_image(firmware.elf)
    functions = _model_functions(s.name for s in image.symbols if s.function)
    nothing = dict.fromkeys(functions.values(), 0)
    base = StackAnalysis(image, nothing).depth_of(RESET)
    calls = {}
    for entry, name in functions.items():
        depth = StackAnalysis(image, nothing | {name: FAR}).depth_of(RESET)
        if depth >= FAR:
            calls[entry] = depth - FAR
    return base, calls


def _own_depths(firmware: Firmware, graph: ObjectGraph) -> dict[str, int]:
    """What functions of the model need without the runtime functions they call."""
    image = read_image(firmware.elf)
    functions = _model_functions(s.name for s in image.symbols if s.function)
    runtime = dict.fromkeys((name for name in graph.symbols if ":" not in name), 0)
    return {
        entry: StackAnalysis(image, runtime).depth_of(name) for entry, name in functions.items()
    }


def _depths(firmware: Firmware, names: Iterable[str]) -> dict[str, int | None]:
    """Stack of runtime functions, None for those that have no bound."""
    image = read_image(firmware.elf)
    functions = {s.name for s in image.symbols if s.function}
    depths: dict[str, int | None] = {}
    for name in names:
        if name in functions and name != UNHANDLED:
            try:
                depths[name] = StackAnalysis(image).depth_of(name)
            except BuildError as error:
                print(f"  {name}: {error.message}")
                depths[name] = None
    return depths


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="measure code sizes and stack depths")
    parser.add_argument("models", nargs="*", type=Path, help="models to build firmware around")
    parser.add_argument("--board", action="append", help="only this board (may be repeated)")
    parser.add_argument("--compiler", action="append", help='a GCC prefix, or "zig"')
    parser.add_argument("--work", type=Path, help="keep the builds here")
    options = parser.parse_args(arguments)
    boards = [load_board(name) for name in options.board or ()] or list_boards()
    runtime = runtime_hash()
    try:
        old = load_tables()
        same = old.runtime == runtime
        kept = {compiler: dict(tables) for compiler, tables in old.tables.items()} if same else {}
    except BuildError:
        kept = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        probes = make_probes(options.models or shared_models(), work / "models")
        for wanted in options.compiler or ("", "zig"):
            try:
                compiler = find_compiler(wanted)
            except BuildError as error:
                print(f"left out: {error.message}")
                continue
            for board in boards:
                print(f"{compiler.id} {board.name}", flush=True)
                table = measure_table(board, compiler, probes, work / "builds")
                kept.setdefault(compiler.id, {})[board.name] = table
                dump_tables(Tables(format=FORMAT, runtime=runtime, tables=kept), TABLE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
