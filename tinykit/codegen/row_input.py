"""C text of a model whose input rows arrive one by one, from a camera for instance.

The first segment's counters outlive a call: `<name>_row` counts the row that was put where
`<name>_input_row` said, runs all that can run now, and after the last row the rest of the model.
"""

from __future__ import annotations

from tinykit.codegen.emit import Emitter, FunctionBody, port_type
from tinykit.codegen.stream import SegmentWriter
from tinykit.schedule import Program
from tinykit.schedule.facts import SOURCE


class RowInput:
    """The functions of such a model; `body` is all that runs after the last row has come."""

    def __init__(self, emitter: Emitter, program: Program) -> None:
        self.program, self.prefix = program, emitter.prefix
        self.body: FunctionBody = emitter.body(program, first=1)
        self.writer: SegmentWriter = emitter.writer(program, program.segments[0])
        self.loop = emitter.loop(self.body, program, self.writer)
        self.input_type = port_type(program.graph[program.graph.inputs[0]])
        self.output_type = port_type(program.graph[program.graph.outputs[0]])

    @property
    def symbol(self) -> str:
        return f"{self.prefix}_counts"

    @property
    def bytes(self) -> int:
        """Of the counters."""
        return sum(self.writer.counters) * (1 if self.writer.counter == "uint8_t" else 2)

    def declarations(self) -> list[str]:
        """What has to stand before the functions."""
        kind = self.writer.counter
        return [f"static {kind} {self.symbol}[{sum(self.writer.counters)}];"]

    def header(self) -> list[str]:
        """The interface, in place of <name>_input and <name>_infer."""
        p, graph = self.prefix, self.program.graph
        tensor = graph[graph.inputs[0]]
        return [
            f"#define {p.upper()}_INPUT_ROW_BYTES {tensor.bytes // tensor.shape[1]}",
            "",
            "/* Before anything else, and to begin a new input early. */",
            f"void {p}_init(void);",
            f"{self.input_type} *{p}_input_row(void); /* where to put the next row of the input */",
            f"const {self.output_type} *{p}_row(void); "
            "/* takes it; NULL, or the outputs after the last */",
        ]

    def functions(self, output: str) -> list[str]:
        """Their C text; `output` is the expression for the outputs."""
        p, graph = self.prefix, self.program.graph
        name = graph.inputs[0]
        rows, slots = self.writer.counters
        counters = [f"    {self.writer.counter} *const row = {self.symbol};"]
        if slots:
            counters.append(f"    {self.writer.counter} *const slot = {self.symbol} + {rows};")
        place = self.writer.row_pointer(SOURCE, name)
        used = [line for line in counters if line.split(" = ")[0].split()[-1] + "[" in place]
        last = self.program.segments[0].last
        return [
            f"void {p}_init(void) {{ __builtin_memset({self.symbol}, 0, sizeof {self.symbol}); }}",
            "",
            f"{self.input_type} *{p}_input_row(void)\n{{",
            *used,
            f"    return ({self.input_type} *)({place});\n}}",
            "",
            f"const {self.output_type} *{p}_row(void)\n{{",
            f"    /* Up to {graph.ops[last].name}, row by row: always the latest that can run. */",
            "    {",
            *(f"    {line}" for line in counters),
            *(f"        {line}" for line in [*self.writer.advance(SOURCE), *self.loop]),
            f"        if ({self.writer.row(SOURCE)} < {graph[name].shape[1]}) {{",
            "            return NULL;\n        }",
            "    }",
            f"    {p}_init();",
            *self.body.lines,
            f"    return {output};\n}}",
        ]
