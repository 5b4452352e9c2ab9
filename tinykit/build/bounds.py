"""What a model will need of a board, before anything is compiled.

What generated code holds (arena, parameters, weights, …) is in the manifest, exact. What comes on
top depends on the compiler: bounds.json, written by `python -m tinykit.build.measure_bounds`, has
for each compiler and board the size of every runtime function and what it refers to, so that the
functions a model needs are added up just as the linker will; beside it an upper bound for the code
of calls, and stack depths. The bounds are never too low and at most 10 % too high.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tinykit.boards import Board
from tinykit.build.compilers import find_compiler
from tinykit.codegen.manifest import Manifest
from tinykit.errors import BuildError, DoesNotFitError

TABLE = Path(__file__).with_name("bounds.json")
FORMAT = 1

Variant = Literal["infer", "train"]  # firmware that only infers, or trains too
HEARING = ("begin", "push")  # functions of a model with a frontend
LEARN = "learn"  # the deepest function of a model that keeps samples
MEMORIES = ("flash", "data", "bss")  # a node's memory by number; "data" takes flash and SRAM


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CallCost(_Value):
    """Bytes of generated code: at most fixed + call * calls + op * ops."""

    fixed: int
    call: int
    op: int

    def bytes(self, calls: int, ops: int) -> int:
        """The bound for a model."""
        return self.fixed + self.call * calls + self.op * ops


class FrameCost(_Value):
    """Stack of a function of the model itself: at most fixed + layer / 100 * trained layers bytes.
    clang keeps the addresses of what the backward pass needs in its frame."""

    fixed: int
    layer: int

    def bytes(self, layers: int) -> int:
        """The bound for a model with so many layers whose weights are trained."""
        return self.fixed + -(-self.layer * layers // 100)


class VariantTable(_Value):
    """What differs between firmware that only infers and firmware that trains.

    roots: nodes that are always linked. refs: symbols that generated code needs beside its kernels.
    base: stack without the model. calls: depth at which the link calls a function of the model.
    own: what a function of the model needs itself ("learn": a step where samples are kept, which
    takes functions of the model in each other). untraced: like code, built without the trace.
    All in bytes.
    """

    roots: tuple[int, ...]
    refs: tuple[str, ...]
    code: CallCost
    untraced: CallCost
    base: int
    calls: dict[str, int]
    own: dict[str, FrameCost]


class Table(_Value):
    """One compiler and board. nodes: (bytes, memory, *refs); symbols: the node that defines one;
    depths: stack of runtime functions, None where there is no bound."""

    cpu: str
    nodes: tuple[tuple[int, ...], ...]
    symbols: dict[str, int]
    depths: dict[str, int | None]
    interrupts: int
    fault: int
    variants: dict[Variant, VariantTable]


class Tables(_Value):
    """bounds.json. `runtime` tells for which sources of the runtime it was measured."""

    format: int
    runtime: str
    tables: dict[str, dict[str, Table]]  # compiler → board → table


@dataclass(frozen=True)
class Bounds:
    """Upper bounds in bytes: `code` in flash, `bss` of the runtime's variables and `stack` in SRAM.
    `measured` says for which compiler and board, e.g. "gcc-12.2 on mps2_an386"."""

    code: int
    bss: int
    stack: int
    measured: str


@dataclass(frozen=True)
class MemoryPlan:
    """What a board's memories will hold: exact bytes from the manifest, and bounds."""

    board: Board
    sram: dict[str, int]
    flash: dict[str, int]
    bounds: Bounds

    @property
    def sram_bytes(self) -> int:
        """All SRAM, at most."""
        return sum(self.sram.values()) + self.bounds.bss + self.bounds.stack

    @property
    def flash_bytes(self) -> int:
        """All flash, at most."""
        return sum(self.flash.values()) + self.bounds.code


@cache
def load_tables(path: Path = TABLE) -> Tables:
    """bounds.json. Raises BuildError."""
    try:
        tables = Tables.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BuildError(f"{path}: {reason}", "write it anew with `make bounds`") from error
    if tables.format != FORMAT:
        raise BuildError(f"{path}: format {tables.format}, expected {FORMAT}", "`make bounds`")
    return tables


def is_measured(compiler: str) -> bool:
    """Whether the code of a compiler ("gcc-12.2") is known."""
    try:
        return compiler in load_tables().tables
    except BuildError:
        return False


def planned_bounds(manifest: Manifest, board: Board, compiler: str, trace: bool = True) -> Bounds:
    """The bounds for a model on a board, built by `compiler` ("gcc-12.2"), with the trace or not.

    A compiler or board that was not measured gets the largest figures of those that were, with a
    warning. Raises BuildError when the model calls what the table does not know.
    """
    tables = load_tables().tables
    exact = tables.get(compiler, {}).get(board.name)
    if exact is not None:
        return _bounds(manifest, exact, trace, f"{compiler} on {board.name}")
    measured = [
        (table, f"{name} on {of_board}, the nearest that was measured")
        for name, boards in tables.items()
        for of_board, table in boards.items()
        if of_board == board.name or board.name not in boards
    ]
    near = [m for m in measured if m[0].cpu == board.cpu] or measured
    if not near:
        raise BuildError("no code sizes are known for any compiler", "measure them: `make bounds`")
    candidates = [_bounds(manifest, table, trace, text) for table, text in near]
    largest = max(candidates, key=lambda bounds: bounds.code)
    warnings.warn(
        f"code sizes of {compiler} on {board.name} were never measured: those of "
        f"{largest.measured} are used, which may be off",
        stacklevel=2,
    )
    return Bounds(
        code=largest.code,
        bss=max(bounds.bss for bounds in candidates),
        stack=max(bounds.stack for bounds in candidates),
        measured=largest.measured,
    )


def _bounds(manifest: Manifest, table: Table, trace: bool, measured: str) -> Bounds:
    variant = table.variants["train" if manifest.trains else "infer"]
    called = {*manifest.kernels, *variant.refs}
    unknown = sorted(name for name in manifest.kernels if name not in table.symbols)
    if unknown:
        raise BuildError(f"no code size is known for `{unknown[0]}` ({measured})", "`make bounds`")
    sizes = dict.fromkeys(MEMORIES, 0)
    for index in _reach(table, [*variant.roots, *(table.symbols[s] for s in called)]):
        node = table.nodes[index]
        sizes[MEMORIES[node[1]]] += node[0]
    data, variables = _whole(sizes["data"]), _whole(sizes["bss"] + _link_bytes(manifest))
    cost = variant.code if trace else variant.untraced
    generated = cost.bytes(manifest.calls, op_count(manifest))
    return Bounds(
        code=_whole(sizes["flash"]) + data + generated,
        bss=data + variables + 8,  # the model's own objects may need padding among them
        stack=_stack(table, variant, called, manifest),
        measured=measured,
    )


def _whole(size: int) -> int:
    """Output sections are multiples of 8 bytes."""
    return -(-size // 8) * 8


def op_count(manifest: Manifest) -> int:
    """Ops in all functions of generated code."""
    return len(manifest.ops) + (len(manifest.infer_ops) if manifest.trains else 0)


def trained_layers(manifest: Manifest) -> int:
    """Layers whose weights learn."""
    return sum(parameter.role == "weights" for parameter in manifest.parameters)


def _link_bytes(manifest: Manifest) -> int:
    """What the link keeps for saved parameters on their way out or in (`tk_link_stage`: nothing
    where they fit into the arena), and for a target that is a vector (`tk_link_target`)."""
    save = manifest.save_bytes
    if manifest.target is None:
        return 0
    stage = save if save > manifest.memory.sram.get("arena", 0) else 0
    return stage + _whole(max(manifest.target.values, 1))


def _reach(table: Table, roots: list[int]) -> set[int]:
    found: set[int] = set()
    while roots:
        index = roots.pop()
        if index not in found:
            found.add(index)
            roots += table.nodes[index][2:]
    return found


def _stack(table: Table, variant: VariantTable, called: set[str], manifest: Manifest) -> int:
    depths = [table.depths.get(name, 0) for name in called]
    if None in depths:
        name = next(n for n in sorted(called) if table.depths.get(n, 0) is None)
        raise BuildError(f"the stack of `{name}` cannot be bounded", "`make bounds` says why")
    deepest = max((depth for depth in depths if depth is not None), default=0)
    layers = trained_layers(manifest)
    own = {name: cost.bytes(layers) for name, cost in variant.own.items()}
    calls = dict(variant.calls)
    if manifest.frontend is None:
        calls = {name: depth for name, depth in calls.items() if name not in HEARING}
    if manifest.keeps is not None:
        calls[LEARN] = calls["train"]
    thread = max(
        variant.base,
        *(depth + own.get(name, 0) + deepest for name, depth in calls.items()),
    )
    return -(-max(thread + table.interrupts, table.fault) // 8) * 8


def plan_memory(
    manifest: Manifest, board: Board, compiler: str = "", trace: bool = True
) -> MemoryPlan:
    """What the model will take of a board; `compiler` is the installed one by default."""
    return MemoryPlan(
        board=board,
        sram=dict(manifest.memory.sram),
        flash=dict(manifest.memory.flash),
        bounds=planned_bounds(manifest, board, compiler or _installed(), trace),
    )


def _installed() -> str:
    """The compiler that a build would use; without one, the first that was measured."""
    try:
        return find_compiler().id
    except BuildError:
        return next(iter(load_tables().tables), "")


def check_fit(
    manifest: Manifest, board: Board, compiler: str = "", trace: bool = True
) -> MemoryPlan:
    """Makes sure that a model fits a board before anything is compiled.

    Raises DoesNotFitError with the numbers, and what to change.
    """
    plan = plan_memory(manifest, board, compiler, trace)
    bounds = plan.bounds
    too_large = []
    for name, items, extra, total, budget in (
        (
            "SRAM",
            plan.sram,
            {"runtime": bounds.bss, "stack": bounds.stack},
            plan.sram_bytes,
            board.sram,
        ),
        ("flash", plan.flash, {"code": bounds.code}, plan.flash_bytes, board.flash),
    ):
        if total > budget:
            exact = ", ".join(f"{kind} {size:,}" for kind, size in items.items() if size)
            at_most = ", ".join(f"{kind} ≤ {size:,}" for kind, size in extra.items())
            too_large.append(
                f"{total:,} of {budget:,} B of {name} ({exact}, {at_most}): "
                f"{total - budget:,} B too many"
            )
    if too_large:
        raise DoesNotFitError(
            f"{manifest.name} does not fit {board.name}: needs {'; and '.join(too_large)}",
            _advice(manifest, plan),
        )
    return plan


def _advice(manifest: Manifest, plan: MemoryPlan) -> str:
    advice = []
    if plan.sram_bytes > plan.board.sram:
        if manifest.trains:
            advice.append("train less: biases only, fewer layers or channels (`tinykit plan`)")
        advice.append("a smaller input or narrower layers")
    if plan.flash_bytes > plan.board.flash:
        advice.append("a model with fewer weights")
    return "; ".join([*advice, "or a larger board (`tinykit boards`)"])


def dump_tables(tables: Tables, path: Path = TABLE) -> None:
    """Writes bounds.json, one table a line."""
    lines = []
    for compiler, boards in sorted(tables.tables.items()):
        rows = [
            f"  {json.dumps(name)}: {json.dumps(_plain(table), separators=(',', ':'))}"
            for name, table in sorted(boards.items())
        ]
        lines.append(f" {json.dumps(compiler)}: {{\n" + ",\n".join(rows) + "\n }")
    head = f'{{"format": {tables.format}, "runtime": {json.dumps(tables.runtime)}, "tables": {{\n'
    path.write_text(head + ",\n".join(lines) + "\n}}\n", encoding="utf-8")


def _plain(table: Table) -> dict[str, Any]:
    return table.model_dump(mode="json")
