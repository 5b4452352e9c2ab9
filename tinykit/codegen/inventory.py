"""The manifest of emitted code: ports, parameters, ops, memory."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

import tinykit
from tinykit.codegen import guard as guards
from tinykit.codegen.frontend import CALLS as FRONTEND_CALLS
from tinykit.codegen.frontend import MEMORY, FrontendCode
from tinykit.codegen.manifest import (
    FORMAT,
    Frontend,
    Guards,
    Keeps,
    Manifest,
    ManifestOp,
    Memory,
    Parameter,
    Port,
    StreamedSegment,
    TargetPort,
)
from tinykit.codegen.replay import CALLS, KERNELS, REPLAY_CALLS
from tinykit.codegen.sources import ModelSource
from tinykit.frontend.audio import AudioFrontend
from tinykit.ir import Tensor
from tinykit.ops.registry import operator
from tinykit.ops.update import trained_name
from tinykit.passes.ports import input_places, output_places
from tinykit.schedule import Program
from tinykit.training.loss import target_form


def _port(tensor: Tensor, offset: int = 0) -> Port:
    quant = tensor.quant
    return Port(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=quant.scale0,
        zero_point=quant.zero_point0,
        bytes=tensor.bytes,
        offset=offset,
        scales=quant.scale if quant.per_channel else (),
        zero_points=quant.zero_point if quant.per_channel else (),
    )


def _frontend(code: FrontendCode) -> Frontend:
    f = code.frontend
    return Frontend(
        kind="audio" if f.audio else "motion",
        sample_rate=f.source.sample_rate if isinstance(f.source, AudioFrontend) else 0,
        axes=f.axes,
        rows=f.rows,
        features=f.features,
        hop=f.hop,
    )


def _probability(tensor: Tensor) -> bool:
    """Whether it is quantized as TFLite does it for what SOFTMAX and LOGISTIC make."""
    return tensor.quant.scale == (1 / 256,) and tensor.quant.zero_point == (-128,)


def _ops(program: Program) -> tuple[ManifestOp, ...]:
    return tuple(
        ManifestOp(index=i, name=op.name, kind=op.kind, phase=op.phase, layer=op.layer or op.name)
        for i, op in enumerate(program.graph.ops)
    )


def _segments(function: Literal["infer", "train"], program: Program) -> tuple[StreamedSegment, ...]:
    ops, graph = program.graph.ops, program.graph
    return tuple(
        StreamedSegment(
            function=function,
            first=ops[segment.first].name,
            last=ops[segment.last].name,
            ops=segment.last + 1 - segment.first,
            rings=dict(segment.rings),
            bytes=sum(n * (graph[t].bytes // graph[t].shape[1]) for t, n in segment.rings.items()),
        )
        for segment in program.streamed
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
    kept = None if source.replay is None else source.replay.layout
    if kept is not None:
        sram["replay"] = 0
    guard = source.guard
    if guard is not None:
        sram["guard"] = 0
    if source.frontend is not None:
        sram[MEMORY] = 0
    for item, size in symbols.values():
        (sram if item in sram else flash)[item] = (sram if item in sram else flash).get(
            item, 0
        ) + size
    form = None if train is None else target_form(train.graph)
    kernels = source.infer.kernels | (source.train.kernels if source.train else set())
    calls = source.infer.calls + (source.train.calls if source.train else 0)
    if kept is not None:
        calls += CALLS
        if kept.samples:
            calls += REPLAY_CALLS
            kernels |= set(KERNELS)
    if guard is not None:
        calls += guards.CALLS
        kernels |= set(guards.KERNELS)
    if source.frontend is not None:
        calls += FRONTEND_CALLS
        kernels |= source.frontend.kernels
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
        inputs=tuple(_port(place.tensor, place.first) for place in input_places(graph)),
        outputs=tuple(_port(place.tensor, place.first) for place in output_places(graph)),
        trains=train is not None,
        classes=(form.classes or None) if form is not None else None,
        class_names=compiled.class_names,
        target=None if form is None else TargetPort(**asdict(form)),
        threshold=0.5 if _probability(graph[graph.outputs[0]]) else 0.0,
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
        state_bytes=compiled.state.size,
        save_bytes=source.save_bytes,
        ops=_ops(train or compiled.infer),
        infer_ops=_ops(compiled.infer),
        memory=Memory(sram=sram, flash=flash),
        arena_bound=compiled.bound_bytes,
        arena_proof=compiled.proof,
        input_offset=compiled.input_offset,
        input_rows=compiled.infer.input_rows,
        segments=(
            *_segments("infer", compiled.infer),
            *(_segments("train", train) if train else ()),
        ),
        frontend=None if source.frontend is None else _frontend(source.frontend),
        symbols={name: item for name, (item, _) in symbols.items()},
        kernels=tuple(sorted(kernels)),
        calls=calls,
        keeps=None
        if compiled.plan is None or kept is None
        else Keeps(
            what=compiled.plan.keep,
            bytes=kept.kept,
            samples=kept.samples,
            per_step=kept.per_step,
            block_bytes=kept.bytes,
        ),
        guard=None
        if guard is None
        else Guards(
            window=guard.guard.window,
            snapshots=guard.guard.snapshots,
            bytes=guard.kept,
            block_bytes=guard.bytes,
        ),
        macs=macs,
    )
