"""A graph, and perhaps a plan, to C: <name>.c, <name>.h, tinykit_model.h and model.json."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinykit.codegen.constants import Constants, identifier
from tinykit.codegen.emit import Emitter, FunctionBody
from tinykit.codegen.inventory import manifest
from tinykit.codegen.manifest import Manifest
from tinykit.codegen.row_input import RowInput
from tinykit.codegen.sources import ModelSource, header_text, source_text
from tinykit.errors import ModelError, UsageError
from tinykit.frontend.model import ModelFrontend
from tinykit.ir import Array, Graph
from tinykit.ops.registry import check_shapes
from tinykit.ops.target import Target
from tinykit.passes import shrink, simplify
from tinykit.passes.keep import insert_keep
from tinykit.schedule import Program, schedule, schedule_both
from tinykit.schedule.arena import Proof
from tinykit.schedule.parameters import (
    ParameterBlock,
    StateBlock,
    parameter_block,
    state_block,
)
from tinykit.training.adapters import add_adapters
from tinykit.training.autodiff import differentiate
from tinykit.training.calibrate import calibrate
from tinykit.training.centres import with_centres
from tinykit.training.channel_order import order_channels
from tinykit.training.loss import target_form
from tinykit.training.plan import Plan, learning
from tinykit.training.trainable import make_trainable

Progress = Callable[[str, int, int], None]

RESERVED = ("tk", "tinykit")  # first words of the runtime's names
RANDOM_SAMPLES = 16  # for calibration, when the user gives none


@dataclass(frozen=True)
class Compiled:
    """A model ready for emission; `train` is None for inference only.

    training: the calibrated training graph, for references.
    """

    name: str
    infer: Program
    train: Program | None
    block: ParameterBlock
    plan: Plan | None
    class_names: tuple[str, ...] = ()
    frontend: ModelFrontend | None = None

    @property
    def arena_bytes(self) -> int:
        return max(p.arena_bytes for p in (self.infer, self.train) if p is not None)

    @property
    def state(self) -> StateBlock:
        """The variables that stay from one run to the next."""
        return state_block(self.infer.graph)

    @property
    def bound_bytes(self) -> int:
        """The liveness bound of the program that needs the whole arena."""
        return self.largest.bound_bytes

    @property
    def input_offset(self) -> int:
        """Where the input lies in the arena: the same for inference and training."""
        return self.infer.offsets[self.infer.graph.inputs[0]]

    @property
    def largest(self) -> Program:
        """The program that needs the whole arena."""
        train = self.train
        return train if train and train.arena_bytes > self.infer.arena_bytes else self.infer

    @property
    def proof(self) -> Proof:
        """How good the arena's size is."""
        return self.largest.proof


def compile_model(
    graph: Graph,
    *,
    name: str,
    plan: Plan | None = None,
    samples: Array | None = None,
    labels: Sequence[Target] | None = None,
    keep_input: bool = False,
    arena: int | None = None,
    input_rows: bool = False,
    progress: Progress | None = None,
) -> Compiled:
    """Passes, autodiff, calibration and schedule.

    arena: a budget in bytes, for the fastest program that fits it (see tinykit.schedule)
    input_rows: the input arrives row by row, from a camera for instance; inference only

    samples: int8 [n, …input shape] with labels (classes, or int8 values as the loss takes them),
    for the exponents of the gradients; random samples stand in where there are none.
    """
    prefix = identifier(name)
    if prefix.split("_")[0] in RESERVED:
        raise UsageError(
            f"a model cannot be called {name}: the runtime's own names begin like that",
            "choose another name",
        )
    if input_rows and plan is not None:
        raise UsageError(
            "an input that arrives row by row cannot be trained on: it is never whole",
            "leave out the update plan, or input_rows",
        )
    variables = any(tensor.storage == "state" for tensor in graph.tensors.values())
    if variables and input_rows:
        raise UsageError(
            f"{graph.name} keeps state between runs: such models take whole inputs only",
            "leave out input_rows",
        )
    if variables and plan is not None and plan.keep != "nothing":
        raise UsageError(
            f"{graph.name} keeps state between runs: a kept sample would meet another state",
            'choose a plan with keep = "nothing"',
        )
    graph, training = graphs(graph, plan, samples)
    if training is None:
        infer = schedule(graph, keep_input, arena=arena, input_rows=input_rows)
        return Compiled(prefix, infer, None, parameter_block(graph), plan)
    if samples is None or (labels is None and target_form(training).given):
        samples, labels = random_samples(training)
    labels = [None] * len(samples) if labels is None else labels
    report = None if progress is None else _named(progress, "calibrating")
    training = calibrate(training, samples, labels, report)
    infer, train = schedule_both(graph, training, keep_input, arena=arena)
    return Compiled(prefix, infer, train, parameter_block(train.graph), plan)


def graphs(
    graph: Graph, plan: Plan | None, samples: Array | None = None
) -> tuple[Graph, Graph | None]:
    """What infers, and what trains (not yet calibrated), in their given order.

    samples: as in compile_model, for the scales of adapters.
    """
    graph = simplify(graph)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(f"{graph.name}: models with one input and one output are supported")
    choices = {} if plan is None else plan.resolve(graph)
    if plan is not None:
        graph, choices = add_adapters(graph, choices, samples, plan.optimizer.seed)
    graph = shrink(graph, learning(choices))
    if plan is None:
        return graph, None
    graph = make_trainable(order_channels(graph, choices), choices)
    if plan.training.loss == "triplet":
        graph = with_centres(graph, plan.training)
    training = check_shapes(differentiate(graph, plan.optimizer, plan.training))
    return (graph, training) if plan.keep == "nothing" else insert_keep(graph, training, plan.keep)


def within(compiled: Compiled, arena: int, keep_input: bool = False) -> Compiled:
    """The fastest programs that fit an arena of that many bytes; the smallest if none do."""
    infer, train = compiled.infer, compiled.train
    if train is None:
        infer = schedule(infer.graph, keep_input, arena=arena, input_rows=infer.input_rows)
    else:
        infer, train = schedule_both(infer.graph, train.graph, keep_input, arena=arena)
    return replace(compiled, infer=infer, train=train)


def _named(progress: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(what, done, total)


def random_samples(graph: Graph) -> tuple[Array, list[Target]]:
    """Stand-ins for calibration: noise of full range, labels in turn or values of noise. Seeded."""
    import numpy as np

    generator = np.random.default_rng(0)
    shape = (RANDOM_SAMPLES, *graph[graph.inputs[0]].shape)
    samples = generator.integers(-128, 128, shape).astype(np.int8)
    return samples, target_form(graph).stand_ins(RANDOM_SAMPLES)


def generate(
    graph: Graph,
    out_dir: Path,
    *,
    name: str,
    plan: Plan | None = None,
    samples: Array | None = None,
    labels: Sequence[Target] | None = None,
    keep_input: bool = False,
    budget: Callable[[Manifest], int] | None = None,
    input_rows: bool = False,
    class_names: Sequence[str] = (),
    frontend: ModelFrontend | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Compile a model and write its C files and manifest into `out_dir`.

    budget: how many bytes the arena may take, from the manifest of the smallest program; then the
    fastest program that fits is written.
    input_rows: `<name>_input_row` and `<name>_row` take the input row by row, in place of
    `<name>_input` and `<name>_infer`.  Several models in one arena: see tinykit.codegen.shared.
    class_names: by number.  frontend: `<name>_push` fills the input from raw samples.
    """
    compiled = compile_model(
        graph,
        name=name,
        plan=plan,
        samples=samples,
        labels=labels,
        keep_input=keep_input,
        input_rows=input_rows,
        progress=progress,
    )
    names = _checked_names(compiled, class_names)
    compiled = replace(compiled, class_names=names, frontend=frontend)
    if budget is not None:
        fast = within(compiled, budget(manifest(emit(compiled))), keep_input)
        if fast.arena_bytes <= budget(manifest(emit(fast))):
            compiled = fast
    return write(compiled, out_dir)


def _checked_names(compiled: Compiled, names: Sequence[str]) -> tuple[str, ...]:
    graph = compiled.infer.graph
    outputs = graph[graph.outputs[0]].size
    if len(names) > max(outputs, 2):
        raise UsageError(
            f"{graph.name}: {len(names)} names ({', '.join(names)}) for {outputs} classes",
            f"another head: [model] head = {{classes = {len(names)}}}",
        )
    return tuple(names)


def write(compiled: Compiled, out_dir: Path) -> Manifest:
    """Emit a compiled model.  Files are rewritten only where their text changed."""
    source = emit(compiled)
    out_dir.mkdir(parents=True, exist_ok=True)
    texts = {
        f"{compiled.name}.c": source_text(source),
        f"{compiled.name}.h": header_text(source),
    }
    if source.rows is None:
        texts["tinykit_model.h"] = source.firmware_header()
    else:  # the link needs a whole input
        (out_dir / "tinykit_model.h").unlink(missing_ok=True)
    for file_name, text in texts.items():
        path = out_dir / file_name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    result = manifest(source)
    result.save(out_dir)
    return result


def emit(compiled: Compiled) -> ModelSource:
    """All parts of the C text."""
    graph = compiled.infer.graph
    prefix = compiled.name
    emitter: Emitter

    def address(name: str) -> str:
        return emitter.address(current, name)

    constants = Constants(prefix, address)
    block = compiled.block
    trained = {tensor.name: number for number, tensor in enumerate(block.trained)}
    emitter = Emitter(prefix, constants, block.offsets, compiled.state.offsets, trained)
    current = graph
    rows = RowInput(emitter, compiled.infer) if compiled.infer.input_rows else None
    infer = emitter.body(compiled.infer) if rows is None else rows.body
    train: FunctionBody | None = None
    if compiled.train is not None:
        current = compiled.train.graph
        train = emitter.body(compiled.train)
    source = ModelSource(compiled, constants, infer, train, rows)
    if source.frontend is not None:
        source.frontend.check(graph[graph.inputs[0]])
    digest = hashlib.sha256(source_text(source).encode() + header_text(source).encode())
    source.identity = digest.digest()[:16]
    return source
