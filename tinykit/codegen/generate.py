"""A graph, and perhaps a plan, to C: <name>.c, <name>.h, tinykit_model.h and model.json."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tinykit
from tinykit.codegen.constants import Constants, identifier
from tinykit.codegen.emit import Emitter, FunctionBody
from tinykit.codegen.manifest import FORMAT, Manifest, ManifestOp, Memory, Parameter, Port
from tinykit.codegen.sources import ModelSource, header_text, source_text
from tinykit.errors import ModelError, UsageError
from tinykit.ir import Array, Graph, Tensor
from tinykit.ops.registry import check_shapes, operator
from tinykit.ops.update import trained_name
from tinykit.passes import shrink, simplify
from tinykit.schedule import Program, schedule
from tinykit.schedule.parameters import ParameterBlock, parameter_block
from tinykit.training.autodiff import differentiate
from tinykit.training.calibrate import calibrate
from tinykit.training.channel_order import order_channels
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

    @property
    def arena_bytes(self) -> int:
        return max(p.arena_bytes for p in (self.infer, self.train) if p is not None)

    @property
    def bound_bytes(self) -> int:
        return max(p.bound_bytes for p in (self.infer, self.train) if p is not None)


def compile_model(
    graph: Graph,
    *,
    name: str,
    plan: Plan | None = None,
    samples: Array | None = None,
    labels: Sequence[int] | None = None,
    keep_input: bool = False,
    progress: Progress | None = None,
) -> Compiled:
    """Passes, autodiff, calibration and schedule.

    samples: int8 [n, …input shape] with labels, for the exponents of the gradients; random
    samples stand in where there are none.
    """
    prefix = identifier(name)
    if prefix.split("_")[0] in RESERVED:
        raise UsageError(
            f"a model cannot be called {name}: the runtime's own names begin like that",
            "choose another name",
        )
    graph = simplify(graph)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(f"{graph.name}: models with one input and one output are supported")
    choices = {} if plan is None else plan.resolve(graph)
    graph = shrink(graph, learning(choices))
    train = None
    if plan is not None:
        graph = make_trainable(order_channels(graph, choices), choices)
        training = check_shapes(differentiate(graph, plan.optimizer))
        if samples is None or labels is None:
            samples, labels = random_samples(training)
        report = None if progress is None else _named(progress, "calibrating")
        training = calibrate(training, samples, labels, report)
        train = schedule(training, keep_input)
    infer = schedule(graph, keep_input)
    block = parameter_block(graph if train is None else train.graph)
    return Compiled(prefix, infer, train, block, plan)


def _named(progress: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(what, done, total)


def random_samples(graph: Graph) -> tuple[Array, list[int]]:
    """Stand-ins for calibration: noise of full range, labels in turn. Seeded."""
    import numpy as np

    generator = np.random.default_rng(0)
    shape = (RANDOM_SAMPLES, *graph[graph.inputs[0]].shape)
    samples = generator.integers(-128, 128, shape).astype(np.int8)
    return samples, [i % graph[graph.outputs[0]].size for i in range(RANDOM_SAMPLES)]


def generate(
    graph: Graph,
    out_dir: Path,
    *,
    name: str,
    plan: Plan | None = None,
    samples: Array | None = None,
    labels: Sequence[int] | None = None,
    keep_input: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Compile a model and write its C files and manifest into `out_dir`."""
    compiled = compile_model(
        graph,
        name=name,
        plan=plan,
        samples=samples,
        labels=labels,
        keep_input=keep_input,
        progress=progress,
    )
    return write(compiled, out_dir)


def write(compiled: Compiled, out_dir: Path) -> Manifest:
    """Emit a compiled model.  Files are rewritten only where their text changed."""
    source = emit(compiled)
    out_dir.mkdir(parents=True, exist_ok=True)
    texts = {
        f"{compiled.name}.c": source_text(source),
        f"{compiled.name}.h": header_text(source),
        "tinykit_model.h": source.firmware_header(),
    }
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
    emitter = Emitter(prefix, constants, compiled.block.offsets)
    current = graph
    infer = emitter.body(compiled.infer)
    train: FunctionBody | None = None
    if compiled.train is not None:
        current = compiled.train.graph
        train = emitter.body(compiled.train)
    source = ModelSource(compiled, constants, infer, train)
    digest = hashlib.sha256(source_text(source).encode() + header_text(source).encode())
    source.identity = digest.digest()[:16]
    return source


def _port(tensor: Tensor) -> Port:
    return Port(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=tensor.quant.scale0,
        zero_point=tensor.quant.zero_point0,
        bytes=tensor.bytes,
    )


def _ops(program: Program) -> tuple[ManifestOp, ...]:
    return tuple(
        ManifestOp(index=i, name=op.name, kind=op.kind, phase=op.phase, layer=op.layer or op.name)
        for i, op in enumerate(program.graph.ops)
    )


def _macs(program: Program) -> int:
    return sum(operator(op.kind).cost(program.graph, op).macs for op in program.graph.ops)


def manifest(source: ModelSource) -> Manifest:
    """The manifest of emitted code."""
    compiled = source.compiled
    graph, train, block = compiled.infer.graph, compiled.train, compiled.block
    symbols = source.symbols()
    flash: dict[str, int] = {}
    sram = {"arena": 0, "parameters": 0, "state": 0}
    for item, size in symbols.values():
        (sram if item in sram else flash)[item] = (sram if item in sram else flash).get(
            item, 0
        ) + size
    kernels = source.infer.kernels | (source.train.kernels if source.train else set())
    macs = {"infer": _macs(compiled.infer)}
    if train is not None:
        macs["train"] = _macs(train)
    return Manifest(
        format=FORMAT,
        tinykit=tinykit.__version__,
        name=compiled.name,
        identity=source.identity.hex(),
        input=_port(graph[graph.inputs[0]]),
        output=_port(graph[graph.outputs[0]]),
        trains=train is not None,
        classes=train.graph[train.graph.outputs[0]].size if train is not None else None,
        parameters=tuple(
            Parameter.model_validate(
                {
                    "name": t.name,
                    "role": block.role(t),
                    "dtype": t.dtype,
                    "shape": t.shape,
                    "offset": block.offsets[t.name],
                    "bytes": t.bytes,
                    "layer": trained_name(t.name).rsplit("/", 1)[0],
                }
            )
            for t in block.tensors
        ),
        parameter_bytes=block.size,
        save_bytes=source.save_bytes,
        ops=_ops(train or compiled.infer),
        infer_ops=_ops(compiled.infer),
        memory=Memory(sram=sram, flash=flash),
        arena_bound=compiled.bound_bytes,
        symbols={name: item for name, (item, _) in symbols.items()},
        kernels=tuple(sorted(kernels)),
        calls=source.infer.calls + (source.train.calls if source.train else 0),
        macs=macs,
    )
