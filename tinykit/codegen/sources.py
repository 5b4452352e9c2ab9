"""The text of a generated model: its source file, its header, and the firmware's header."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import tinykit
from tinykit.codegen.constants import Constants, number, wrapped
from tinykit.codegen.cstruct import struct_types
from tinykit.codegen.emit import END, FunctionBody, port_macros, port_type
from tinykit.codegen.frontend import FrontendCode
from tinykit.codegen.guard import GuardText
from tinykit.codegen.replay import ReplayLayout, ReplayText
from tinykit.codegen.row_input import RowInput
from tinykit.codegen.shared import arena_text
from tinykit.ir import Tensor
from tinykit.ops.target import TargetForm
from tinykit.passes.ports import Place, input_places, output_places
from tinykit.training.gradient_types import most_headroom
from tinykit.training.loss import target_form

if TYPE_CHECKING:
    from tinykit.codegen.generate import Compiled

SAVE_OVERHEAD = 48  # TK_SAVE_OVERHEAD
PORTS = (("input", "int8_t"), ("infer", "const int8_t"))  # bytes to the link
SCHEDULES = {"constant": 0, "linear": 1, "cosine": 2, "step": 3}


@dataclass
class ModelSource:
    """All parts of a model's C; `identity` is a digest of the rest."""

    compiled: Compiled
    constants: Constants
    infer: FunctionBody
    train: FunctionBody | None
    rows: RowInput | None = None  # when the input arrives row by row
    identity: bytes = field(default=bytes(16))

    @property
    def prefix(self) -> str:
        return self.compiled.name

    @property
    def trained(self) -> tuple[list[Tensor], list[Tensor]]:
        """(biases, weights) that learn."""
        tensors = self.compiled.block.trained
        return (
            [t for t in tensors if t.dtype == "int32"],
            [t for t in tensors if t.dtype != "int32"],
        )

    @property
    def input_type(self) -> str:
        graph = self.compiled.infer.graph
        return port_type(graph[graph.inputs[0]])

    @property
    def output_type(self) -> str:
        graph = self.compiled.infer.graph
        return port_type(graph[graph.outputs[0]])

    @property
    def replay(self) -> ReplayText | None:
        """What keeps samples, if anything does."""
        train = self.compiled.train
        layout = ReplayLayout.of(self.compiled.plan, None if train is None else train.graph)
        return None if layout is None else ReplayText(self.prefix, layout)

    @property
    def guard(self) -> GuardText | None:
        """The guard against divergence, if the plan has one."""
        compiled, plan = self.compiled, self.compiled.plan
        if compiled.train is None or plan is None or plan.guard is None:
            return None
        form = target_form(compiled.train.graph)
        return GuardText.of(self.prefix, plan.guard, form, compiled.block)

    @property
    def frontend(self) -> FrontendCode | None:
        """What fills the input from raw samples, if the project has it."""
        frontend = self.compiled.frontend
        if frontend is None:
            return None
        return FrontendCode(self.prefix, frontend, self.rows is not None)

    @property
    def save_bytes(self) -> int:
        return self.compiled.block.size + SAVE_OVERHEAD if self.train else 0

    @property
    def target_bytes(self) -> int:
        """Of a target that is a vector; 0: the loss takes none."""
        train = self.compiled.train
        return 0 if train is None else target_form(train.graph).values

    def symbols(self) -> dict[str, tuple[str, int]]:
        """Every object of the generated code: its line of the memory map and its bytes."""
        p = self.prefix
        found = dict(self.constants.symbols)
        found[f"{p}_arena"] = ("arena", self.compiled.arena_bytes)
        if self.rows is not None:
            found[self.rows.symbol] = ("state", self.rows.bytes)
        if self.frontend is not None:
            found |= self.frontend.symbols()
        if self.compiled.state.size:
            found[f"{p}_state_block"] = ("state", self.compiled.state.size)
            found[f"{p}_initial_state"] = ("tables", self.compiled.state.size)
        if self.train is not None:
            biases, weights = self.trained
            types = struct_types()
            found[f"{p}_block"] = ("parameters", self.compiled.block.size)
            found[f"{p}_initial"] = ("initial parameters", len(self.compiled.block.initial))
            found[f"{p}_trainer"] = ("state", types["tk_trainer"].bytes)
            changes = types["tk_change"].bytes * len(self.compiled.block.trained)
            found[f"{p}_changes"] = ("state", changes)
            found[f"{p}_optimizer"] = ("tables", types["tk_optimizer"].bytes)
            found[f"{p}_parameter_set"] = ("tables", types["tk_parameters"].bytes)
            found[f"{p}_identity"] = ("tables", 16)
            for role, tensors in (("biases", biases), ("weights", weights)):
                if tensors:
                    size = types["tk_trained"].bytes * len(tensors)
                    found[f"{p}_trained_{role}"] = ("tables", size)
            if self.replay is not None:
                found |= self.replay.symbols(types["tk_replay"].bytes)
            if self.guard is not None:
                found |= self.guard.symbols()
        return found

    def entries(self) -> tuple[str, ...]:
        """The public functions beside those of PORTS."""
        names = ["init"]
        if self.compiled.state.size:
            names.append("state")
        if self.train is not None:
            names += ["train", "apply", "parameters", "save", "load", "change"]
        if self.replay is not None:
            names += self.replay.entries
        if self.guard is not None:
            names += self.guard.entries
        if self.frontend is not None:
            names += ["begin", "push"]
        return tuple(f"{self.prefix}_{name}" for name in names)

    def firmware_header(self) -> str:
        """tinykit_model.h: the model under the names that the firmware uses."""
        p, f = self.prefix, self.frontend
        identity = ", ".join(f"0x{byte:02X}" for byte in self.identity)
        longest = self.compiled.train or self.compiled.infer
        lines = [
            "/* Generated by tinykit: the model under the names that the firmware uses. */",
            "#ifndef TINYKIT_MODEL_H",
            "#define TINYKIT_MODEL_H",
            "",
            f'#include "{p}.h"',
            "",
            f'#define TK_MODEL_NAME "{p}"',
            "#define TK_MODEL_IDENTITY \\",
            f"    {{ {identity} }}",
            f"#define TK_MODEL_TRAINS {int(self.train is not None)}",
            f"#define TK_MODEL_LEARNS {int(self.replay is not None)}",
            f"#define TK_MODEL_GUARDED {int(self.guard is not None)}",
            f"#define TK_MODEL_INPUT_BYTES {p.upper()}_INPUT_BYTES",
            f"#define TK_MODEL_OUTPUT_BYTES {p.upper()}_OUTPUT_BYTES",
            f"#define TK_MODEL_OP_COUNT {len(longest.graph.ops)}",
            f"#define TK_MODEL_PARAMETER_BYTES {self.compiled.block.size if self.train else 0}",
            f"#define TK_MODEL_SAVE_BYTES {self.save_bytes}",
            f"#define TK_MODEL_TARGET_BYTES {self.target_bytes}",
            f"#define TK_MODEL_TRAINED {len(self.compiled.block.trained) if self.train else 0}",
            *([] if f is None else [f"#define TK_MODEL_READING_VALUES {f.frontend.axes}"]),
            "/* Between runs the arena is free for the link. */",
            f"#define TK_MODEL_SCRATCH_BYTES {p.upper()}_ARENA_BYTES",
            f"#define tk_model_scratch() ((uint8_t *)tk_model_input() - {p.upper()}_INPUT_OFFSET)",
            *(f"#define tk_model_{e.removeprefix(p + '_')} {e}" for e in self.entries()),
            *(f"#define tk_model_{port}() (({kind} *){p}_{port}())" for port, kind in PORTS),
            "",
            "#endif",
        ]
        return "\n".join(lines) + "\n"


def header_text(source: ModelSource) -> str:
    """<name>.h: the interface of the model."""
    p, upper = source.prefix, source.prefix.upper()
    graph = source.compiled.infer.graph
    lines = [
        f"/* Generated by tinykit {tinykit.__version__} from {graph.name}; do not edit. */",
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        '#include "tinykit/tinykit.h"',
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        *port_macros(p, "INPUT", graph[graph.inputs[0]]),
        *_places(p, "INPUT", input_places(graph)),
        "",
        *port_macros(p, "OUTPUT", graph[graph.outputs[0]]),
        *_places(p, "OUTPUT", output_places(graph)),
        "",
        f"#define {upper}_ARENA_BYTES {source.compiled.arena_bytes}",
        f"#define {upper}_INPUT_OFFSET {source.compiled.input_offset} /* in the arena */",
        "",
    ]
    if source.compiled.class_names:
        names = ", ".join(json.dumps(name) for name in source.compiled.class_names)
        lines += [f"#define {upper}_CLASS_NAMES {names}", ""]
    lines += (
        source.rows.header()
        if source.rows is not None
        else [
            "/* Before anything else; parameters and state back to their initial values. */",
            f"void {p}_init(void);",
            f"{source.input_type} *{p}_input(void); "
            f"/* where to put a sample of {upper}_INPUT_BYTES */",
            f"const {source.output_type} *{p}_infer(void); /* the outputs; consumes the input */",
        ]
    )
    if source.frontend is not None:
        lines += source.frontend.header()
    if source.compiled.state.size:
        lines += [
            "",
            f"#define {upper}_STATE_BYTES {source.compiled.state.size}",
            "/* What stays between inferences: copy it out to save it, in to restore it. */",
            f"uint8_t *{p}_state(void);",
        ]
    if source.train is not None:
        train = source.compiled.train
        assert train is not None
        lines += [
            "",
            *_target_macros(upper, target_form(train.graph)),
            f"#define {upper}_PARAMETER_BYTES {source.compiled.block.size}",
            f"#define {upper}_SAVE_BYTES {source.save_bytes}",
            "",
            f"typedef tk_target {p}_target;",
            "/* One sample: forward, loss, backward, update; consumes the input. */",
            f"tk_step {p}_train(const {p}_target *target);",
            f"void {p}_apply(void); /* ends an accumulation of several samples early */",
            f"const uint8_t *{p}_parameters(void); /* {upper}_PARAMETER_BYTES */",
            f"size_t {p}_save(uint8_t *out, size_t bytes); /* 0, or {upper}_SAVE_BYTES written */",
            f"tk_status {p}_load(const uint8_t *in, size_t bytes);",
            "",
            "/* What the last step did to each trained tensor:",
            *(f" *   {n}: {t.name}, {t.size}" for n, t in enumerate(source.compiled.block.trained)),
            " */",
            f"#define {upper}_TRAINED {len(source.compiled.block.trained)}",
            f"tk_change {p}_change(uint32_t tensor);",
            *(source.replay.header() if source.replay is not None else []),
            *(source.guard.header() if source.guard is not None else []),
        ]
    lines += ["", "#ifdef __cplusplus", "}", "#endif", "", "#endif"]
    return "\n".join(lines) + "\n"


def _target_macros(upper: str, form: TargetForm) -> list[str]:
    """What the loss takes: a class, a vector with its quantization, or nothing."""
    if not form.given:
        return ["/* The input is its own target: train(NULL). */"]
    lines = [f"/* A target is {form.wanted()}. */"]
    if form.classes:
        lines.append(f"#define {upper}_CLASSES {form.classes}")
    if form.values:
        zero_point = f"({form.zero_point})" if form.zero_point < 0 else f"{form.zero_point}"
        lines += [
            f"#define {upper}_TARGET_BYTES {form.values}",
            f"#define {upper}_TARGET_SCALE {form.scale:.9g}f",
            f"#define {upper}_TARGET_ZERO_POINT {zero_point}",
        ]
    return lines


def source_text(source: ModelSource) -> str:
    """<name>.c: constants, then straight-line functions."""
    p, upper = source.prefix, source.prefix.upper()
    compiled = source.compiled
    parts = [
        f"/* Generated by tinykit {tinykit.__version__} from {compiled.infer.graph.name}; "
        "do not edit.",
        f" * Arena {compiled.arena_bytes} bytes (liveness bound {compiled.bound_bytes}: "
        f"{compiled.proof}), "
        f"parameters {compiled.block.size if source.train else 0} bytes. */",
        f'#include "{p}.h"',
        '#include "tinykit/kernels.h"',
    ]
    if source.train is not None:
        parts.append('#include "tinykit/training.h"')
    frontend = source.frontend
    if frontend is not None:
        parts.append(frontend.include)
    parts += ["", *arena_text(p)]
    if source.rows is not None:
        parts += source.rows.declarations()
    if source.train is not None:
        parts += [
            f"static _Alignas(8) uint8_t {p}_block[{upper}_PARAMETER_BYTES];",
            f"static tk_trainer {p}_trainer;",
            f"static tk_change {p}_changes[{upper}_TRAINED];",
        ]
    state = compiled.state
    if state.size:
        image = wrapped([str(byte) for byte in state.initial])
        parts += [
            f"static _Alignas(8) uint8_t {p}_state_block[{upper}_STATE_BYTES];",
            f"static const uint8_t {p}_initial_state[{upper}_STATE_BYTES] = {{\n{image}\n}};",
        ]
    parts += ["", *source.constants.definitions, ""]
    parts += _layout_checks(source)
    if frontend is not None:
        parts += frontend.definitions()
    if source.train is not None:
        parts += _training_constants(source)
    replay = source.replay
    if replay is not None:
        parts += replay.constants()
    guard = source.guard
    if guard is not None:
        parts += guard.constants()
    at = compiled.infer.offsets[compiled.infer.graph.outputs[0]]
    output = f"(const {source.output_type} *)({p}_arena + {at})"
    fed = [] if frontend is None else frontend.functions()
    if source.rows is not None:
        return "\n".join([*parts, *source.rows.functions(output), *fed]) + "\n"
    init = []
    if source.train is not None:
        init.append(f"    tk_parameters_reset(&{p}_parameter_set);")
    if guard is not None:
        init.append(f"    {guard.reset}")
    if state.size:
        init += [
            f"    const uint8_t *initial = {p}_initial_state;",
            '    __asm__("" : "+r"(initial)); /* no table to fold */',
            f"    __builtin_memcpy({p}_state_block, initial, {upper}_STATE_BYTES);",
        ]
    if replay is not None:
        init.append(f"    {replay.empty}")
    body = "\n".join(init)
    parts += [
        f"void {p}_init(void)\n{{\n{body}\n}}" if init else f"void {p}_init(void) {{}}",
        "",
        f"{source.input_type} *{p}_input(void) "
        f"{{ return ({source.input_type} *)({p}_arena + {upper}_INPUT_OFFSET); }}",
        "",
        f"const {source.output_type} *{p}_infer(void)\n{{",
        *source.infer.prefix,
        *(replay.keep(source.infer) if replay is not None else []),
        *source.infer.lines,
        f"    return {output};\n}}",
        *fed,
    ]
    if state.size:
        parts += ["", f"uint8_t *{p}_state(void) {{ return {p}_state_block; }}"]
    if source.train is not None:
        parts += _training_functions(source, source.train)
    return "\n".join(parts) + "\n"


def _places(prefix: str, role: str, places: Sequence[Place]) -> list[str]:
    """Of several inputs or outputs: where each lies in their block, and its macros."""
    lines: list[str] = []
    for i, place in enumerate(places if len(places) > 1 else ()):
        name = f"{role}_{i}"
        lines += [
            "",
            f"/* {place.tensor.name} */",
            f"#define {prefix.upper()}_{name}_OFFSET {place.first}",
            *port_macros(prefix, name, place.tensor),
        ]
    return lines


def _layout_checks(source: ModelSource) -> list[str]:
    """The memory map was computed from these sizes; a compiler that differs must not pass."""
    used = sorted({d.split()[2] for d in source.constants.definitions if d.split()[2][:3] == "tk_"})
    types = struct_types()
    lines = ["#if UINTPTR_MAX == UINT32_MAX"]
    for name in used:
        lines.append(f'_Static_assert(sizeof({name}) == {types[name].bytes}, "layout of {name}");')
    lines += [] if source.frontend is None else source.frontend.checks()
    return [*lines, "#endif", ""]


def _training_constants(source: ModelSource) -> list[str]:
    p, plan = source.prefix, source.compiled.plan
    train = source.compiled.train
    assert plan is not None
    assert train is not None
    optimizer, block = plan.optimizer, source.compiled.block
    form = target_form(train.graph)
    image = wrapped([str(byte) for byte in block.initial])
    identity = ", ".join(f"0x{byte:02X}" for byte in source.identity)
    parts = [
        "/* Initial biases and weights of what learns. */",
        f"static const _Alignas(4) uint8_t {p}_initial[{len(block.initial)}] = {{\n{image}\n}};",
        f"static const uint8_t {p}_identity[16] = {{{identity}}};",
        f"static const tk_optimizer {p}_optimizer = {{",
        f"    .learning_rate = {number('float', optimizer.learning_rate)},",
        f"    .schedule = {SCHEDULES[optimizer.schedule]},",
        f"    .step_factor = {number('float', optimizer.step_factor)},",
        f"    .step_size = {optimizer.step_size},",
        f"    .warmup_steps = {optimizer.warmup_steps},",
        f"    .total_steps = {optimizer.total_steps},",
        f"    .accumulate = {optimizer.accumulate},",
        f"    .wide = {int(optimizer.master == 'int32')},",
        f"    .seed = {optimizer.seed}u,",
        f"    .classes = {form.classes},",
        f"    .first_classes = {form.first_classes},",
        f"    .target_values = {form.values},",
        f"    .headroom = {most_headroom(train.graph)},",
        "};",
    ]
    tables = {}
    for role, tensors in zip(("biases", "weights"), source.trained, strict=True):
        tables[role] = f"{p}_trained_{role}" if tensors else "NULL"
        if tensors:
            rows = []
            for tensor in tensors:
                residual = block.offsets.get(f"{tensor.name}/residual")
                left = "NULL" if residual is None else f"{p}_block + {residual}"
                used = f"{p}_block + {block.offsets[tensor.name]}"
                rows.append(f"    {{{used}, {left}, {tensor.stored_size}}},")
            parts += [f"static const tk_trained {tables[role]}[{len(tensors)}] = {{", *rows, "};"]
    biases, weights = source.trained
    parts += [
        f"static const tk_parameters {p}_parameter_set = {{",
        f"    .identity = {p}_identity,",
        f"    .block = {p}_block,",
        f"    .initial = {p}_initial,",
        f"    .trainer = &{p}_trainer,",
        f"    .optimizer = &{p}_optimizer,",
        f"    .biases = {tables['biases']},",
        f"    .weights = {tables['weights']},",
        f"    .changes = {p}_changes,",
        f"    .block_bytes = {block.size},",
        f"    .initial_bytes = {len(block.initial)},",
        f"    .bias_count = {len(biases)},",
        f"    .weight_count = {len(weights)},",
        "};",
        "",
    ]
    return parts


def _training_functions(source: ModelSource, train: FunctionBody) -> list[str]:
    p, replay, guard = source.prefix, source.replay, source.guard
    parameters = f"&{p}_parameter_set"
    head = [f"tk_step {p}_train(const {p}_target *target)\n{{"]
    if replay is not None:
        head = [
            "/* A step on the sample in the arena; or, if they are given, on features. */",
            f"static tk_step {p}_step(const {p}_target *target, const int8_t *features)\n{{",
        ]
    load = f"    return tk_parameters_load({parameters}, in, bytes);"
    after = [guard.reset] if guard is not None else []
    after += [replay.empty] if replay is not None else []
    if after:
        load = "\n".join(
            [
                f"    const tk_status status = tk_parameters_load({parameters}, in, bytes);",
                "    if (status == TK_OK) {",
                *(f"        {statement}" for statement in after),
                "    }",
                "    return status;",
            ]
        )
    return [
        "",
        *head,
        "    tk_step step;",
        f"    if (tk_step_begin({parameters}, target, &step) != TK_OK) {{",
        "        return step;",
        "    }",
        *([guard.begin] if guard is not None else []),
        *(replay.first_half(train) if replay is not None else []),
        *train.lines,
        *([f"{END}:"] if f"        goto {END};" in train.lines else []),
        f"    tk_step_end({parameters}, &step);",
        *([guard.end] if guard is not None else []),
        "    return step;\n}",
        *(replay.functions() if replay is not None else []),
        *(guard.functions() if guard is not None else []),
        "",
        f"void {p}_apply(void) {{ tk_parameters_apply({parameters}); }}",
        "",
        f"const uint8_t *{p}_parameters(void) {{ return {p}_block; }}",
        "",
        f"size_t {p}_save(uint8_t *out, size_t bytes)\n{{",
        f"    return tk_parameters_save({parameters}, out, bytes);\n}}",
        "",
        f"tk_status {p}_load(const uint8_t *in, size_t bytes)\n{{",
        f"{load}\n}}",
        "",
        f"tk_change {p}_change(uint32_t tensor)\n{{",
        f"    return tk_parameters_change({parameters}, tensor);\n}}",
    ]
