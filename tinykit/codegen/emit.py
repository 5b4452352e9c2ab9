"""Programs to C text.  No decisions are made here: order, places and descriptors are given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tinykit.codegen.constants import Constants
from tinykit.codegen.stream import CALL_WEIGHT, SegmentWriter
from tinykit.errors import ModelError
from tinykit.ir import Graph, Op, Tensor
from tinykit.ops.base import Call
from tinykit.ops.registry import operator
from tinykit.ops.rows import RingRows, Row
from tinykit.schedule import Program, Segment
from tinykit.schedule.facts import aligned

POINTER_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t"}

END = "end"  # the label behind the last op


@dataclass
class FunctionBody:
    """The calls of one program; `prefix` and `kept` where it has a KEEP: what runs in front of it,
    and what it keeps, as (offset among all that is kept, pointer, bytes)."""

    lines: list[str] = field(default_factory=list)
    prefix: list[str] = field(default_factory=list)
    kept: list[tuple[int, str, int]] = field(default_factory=list)
    kernels: set[str] = field(default_factory=set)
    calls: int = 0


@dataclass
class Emitter:
    """Turns ops into calls; collects what they point to in `constants`."""

    prefix: str
    constants: Constants
    parameters: Mapping[str, int]  # offset in the block of parameters, by tensor name
    state: Mapping[str, int]  # offset in the block of variables
    trained: Mapping[str, int]  # number of each trained tensor: biases, then weights

    def body(self, program: Program, first: int = 0) -> FunctionBody:
        """The segments from number `first` on."""
        body = FunctionBody()
        for segment in program.segments[first:]:
            if segment.streamed:
                self._stream(body, program, segment)
            else:
                self._layer(body, program, segment.first)
        return body

    def _layer(self, body: FunctionBody, program: Program, index: int) -> None:
        op = program.graph.ops[index]
        body.lines.append(f"    /* {describe(program, op)} */")
        if op.kind == "keep":
            body.prefix, body.lines = body.lines, []
            at = 0
            for name in op.inputs:
                tensor = program.graph[name]
                body.kept.append((at, self._pointer(program, tensor), tensor.bytes))
                at += aligned(tensor.bytes)
            return
        if operator(op.kind).alias:
            return
        for call in operator(op.kind).lower(program.graph, op):
            body.lines.append(f"    {self._call(program, op, call)}")
            body.kernels.add(call.function)
            body.calls += 1
        for name in (*op.outputs, *op.updates):
            tensor = program.graph[name]
            where = self._pointer(program, tensor)
            body.lines.append(f"    TK_TRACE_POINT({index}, {where}, {tensor.bytes});")
        if op.updates and op.updates[0] in self.trained:
            change = f"&{self.prefix}_changes[{self.trained[op.updates[0]]}]"
            body.lines.append(f"    tk_change_end(&{self.prefix}_trainer, {change});")
            body.calls += 1
        if operator(op.kind).may_end(op):
            body.lines += [
                f"    if ({self.prefix}_trainer.skips) {{",
                f"        goto {END};",
                "    }",
            ]

    def writer(self, program: Program, segment: Segment) -> SegmentWriter:
        """What writes the loop of a streamed segment."""
        graph = program.graph
        return SegmentWriter(program, segment, lambda name: self._pointer(program, graph[name]))

    def loop(self, body: FunctionBody, program: Program, writer: SegmentWriter) -> list[str]:
        """The loop of a streamed segment; `body` takes account of what it calls."""
        ops = program.graph.ops
        for form in writer.forms.values():
            body.kernels.add(form.call.function)
            body.calls += CALL_WEIGHT

        def call(index: int, row: Call) -> str:
            return self._call(program, ops[index], row, writer)

        return writer.loop(lambda index: describe(program, ops[index]), call)

    def _stream(self, body: FunctionBody, program: Program, segment: Segment) -> None:
        writer = self.writer(program, segment)
        first, last = (program.graph.ops[i].name for i in (segment.first, segment.last))
        body.lines += [
            f"    /* {first} to {last}, row by row: always the latest that can run. */",
            "    {",
            *(f"        {line}" for line in writer.declarations()),
            *(f"        {line}" for line in self.loop(body, program, writer)),
            "    }",
        ]

    def _call(
        self, program: Program, op: Op, call: Call, writer: SegmentWriter | None = None
    ) -> str:
        arguments = []
        if call.descriptor is not None:
            arguments.append("&" + self.constants.struct(op.name, call.descriptor))
        for argument in call.arguments:
            index = program.graph.ops.index(op) if writer else 0
            special = writer.argument(index, argument) if writer else None
            arguments.append(special or self._argument(program, op, argument))
        return f"{call.function}({', '.join(arguments)});"

    def _argument(self, program: Program, op: Op, argument: str | int | Row | RingRows) -> str:
        if isinstance(argument, int):
            return str(argument)
        assert isinstance(argument, str)
        if argument == "$scratch":
            return f"(void *)({self.prefix}_arena + {program.scratch_offset(op)})"
        if argument == "$sums":
            return f"(void *)({self.prefix}_arena + {program.sums_offset(op)})"
        if argument == "$trainer":
            return f"&{self.prefix}_trainer"
        if argument == "$target":
            return "target"
        if argument == "$step":
            return "&step"
        tensor = program.graph[argument]
        pointer = self._pointer(program, tensor)
        return pointer if tensor.storage == "flash" else f"(void *)({pointer})"

    def _pointer(self, program: Program, tensor: Tensor) -> str:
        if tensor.storage == "arena":
            return f"{self.prefix}_arena + {program.offsets[tensor.name]}"
        return self.address(program.graph, tensor.name)

    def address(self, graph: Graph, name: str) -> str:
        """The C expression for where a flash or parameter tensor lies."""
        tensor = graph[name]
        if tensor.storage == "parameters":
            return f"(void *)({self.prefix}_block + {self.parameters[name]})"
        if tensor.storage == "state":
            return f"(void *)({self.prefix}_state_block + {self.state[name]})"
        if tensor.storage != "flash":
            raise ModelError(f"{name} has no fixed address")
        item = "biases" if tensor.dtype == "int32" else "weights"
        return self.constants.array(
            name, POINTER_TYPES[tensor.dtype], tensor.stored(tensor.value), item
        )


def describe(program: Program, op: Op) -> str:
    """`name: KIND shape -> shape; MACs; arena ranges` for the comment above a layer's call."""
    graph = program.graph

    def shape(name: str) -> str:
        return "x".join(map(str, graph[name].shape)) or "scalar"

    def place(name: str) -> str:
        start, size = program.offsets[name], graph[name].bytes
        rows = program.rings.get(name)
        if rows is None:
            return f"{shape(name)} at {start}..{start + size}"
        end = start + rows * (size // graph[name].shape[1])
        return f"{shape(name)} in {rows} row{'s' * (rows > 1)} at {start}..{end}"

    inputs = [n for n in op.reads if graph[n].storage == "arena"]
    text = f"{op.name}: {op.kind} {', '.join(map(place, inputs))}"
    if op.outputs:
        text += " -> " + ", ".join(map(place, op.outputs))
    if op.updates:
        text += f" -> {op.updates[0]}"
    macs = operator(op.kind).cost(graph, op).macs
    return text + (f"; {macs:,} MACs" if macs else "")


def _float(value: float) -> str:
    """A C literal of nine digits, enough for any float32."""
    text = f"{value:.9g}"
    return f"{text}f" if set(text) & set(".e") else f"{text}.0f"


def port_type(tensor: Tensor) -> str:
    """The C type in which the application meets an input or output."""
    return "int16_t" if tensor.dtype == "int16" else "int8_t"


def port_macros(prefix: str, role: str, tensor: Tensor) -> list[str]:
    """Shape, size and quantization of an input or output as macros."""
    name = f"{prefix.upper()}_{role}"
    quant = tensor.quant
    dims = [f"#define {name}_DIM{i} {n}" for i, n in enumerate(tensor.shape[1:])]
    lines = [
        f"#define {name}_BYTES {tensor.bytes}",
        f"#define {name}_SIZE {math.prod(tensor.shape)}",
        *dims,
    ]
    if quant.per_channel:  # initializers: code[i] = round(x[i] / SCALES[i]) + ZERO_POINTS[i]
        return [
            *lines,
            f"#define {name}_SCALES {{{', '.join(map(_float, quant.scale))}}}",
            f"#define {name}_ZERO_POINTS {{{', '.join(map(str, quant.zero_point))}}}",
        ]
    return [
        *lines,
        f"#define {name}_SCALE {_float(quant.scale0)}",
        f"#define {name}_ZERO_POINT {'(' if quant.zero_point0 < 0 else ''}"
        f"{quant.zero_point0}{')' if quant.zero_point0 < 0 else ''}",
    ]
