"""C text for what is kept of samples: the last one, and past ones to train on again.

One block of SRAM, in words: whether the last sample is kept; then, where there is a replay buffer,
how many samples it holds, how many of each class have come, their labels, and they themselves, each
with its target if that is a vector; then the last sample.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinykit.codegen.emit import FunctionBody
from tinykit.ir import Graph
from tinykit.ops.target import TargetForm
from tinykit.schedule.facts import aligned
from tinykit.training.loss import target_form
from tinykit.training.plan import Plan

CALLS = 10  # of code, that the functions below take at most (see tinykit.build.bounds)
REPLAY_CALLS = 14  # more, with a buffer of past samples
KERNELS = ("tk_replay_insert", "tk_replay_draw", "tk_replay_add")


@dataclass(frozen=True)
class ReplayLayout:
    """Where everything lies in the block; sizes in bytes.

    kept: of one sample. groups: classes, and all samples without a class. targets: of each target.
    """

    kept: int
    samples: int
    per_step: int
    groups: int
    targets: int

    @classmethod
    def of(cls, plan: Plan | None, train: Graph | None) -> ReplayLayout | None:
        """None where nothing is kept."""
        if plan is None or train is None or plan.keep == "nothing":
            return None
        (op,) = train.of_kind("keep")
        form = target_form(train)
        return cls(
            sum(aligned(train[name].bytes) for name in op.inputs),
            plan.replay.samples,
            plan.replay.per_step,
            _groups(form),
            form.values,
        )

    @property
    def stride(self) -> int:
        """From one past sample to the next."""
        return aligned(self.kept + self.targets)

    @property
    def past(self) -> int:
        """Where the first past sample lies."""
        return 4 * (2 + self.groups + self.samples) if self.samples else 4

    @property
    def last(self) -> int:
        """Where the last sample lies."""
        return self.past + self.samples * self.stride

    @property
    def bytes(self) -> int:
        return self.last + self.kept


def _groups(form: TargetForm) -> int:
    return max(1, form.classes + bool(form.values))


@dataclass(frozen=True)
class ReplayText:
    """The parts of a model's C."""

    prefix: str
    layout: ReplayLayout

    @property
    def entries(self) -> tuple[str, ...]:
        """Public functions, without the model's name."""
        return ("features", "train_features", "learn", "replay")

    def symbols(self, replay_struct: int) -> dict[str, tuple[str, int]]:
        """Objects: their line of the memory map and their bytes."""
        found = {f"{self.prefix}_replay_block": ("replay", self.layout.bytes)}
        if self.layout.samples:
            found[f"{self.prefix}_replay_set"] = ("tables", replay_struct)
        return found

    def header(self) -> list[str]:
        """Declarations."""
        p, upper = self.prefix, self.prefix.upper()
        return [
            "",
            f"#define {upper}_FEATURES_BYTES {self.layout.kept}",
            f"#define {upper}_REPLAY_BYTES {self.layout.bytes}",
            "/* What is kept of the last sample that ran, to train on again; NULL: none. */",
            f"const int8_t *{p}_features(void);",
            "/* Trains on what was kept of a sample, without the layers in front. */",
            f"tk_step {p}_train_features(const int8_t *features, const {p}_target *target);",
            "/* Trains on the last sample that ran (an inference's); or TK_ERROR_SAMPLE. */",
            f"tk_step {p}_learn(const {p}_target *target);",
            f"/* All that is kept, {upper}_REPLAY_BYTES, not part of what is saved: init and load",
            " * empty it.  Copy it out to save it, in (after a load) to restore it. */",
            f"uint8_t *{p}_replay(void);",
        ]

    def constants(self) -> list[str]:
        """The block and its descriptor."""
        p, layout = self.prefix, self.layout
        parts = [f"static uint32_t {p}_replay_block[{layout.bytes // 4}];"]
        if not layout.samples:
            return parts
        labels = 2 + layout.groups
        return [
            *parts,
            f"static const tk_replay {p}_replay_set = {{",
            f"    .filled = {p}_replay_block + 1,",
            f"    .seen = {p}_replay_block + 2,",
            f"    .labels = (int32_t *)({p}_replay_block + {labels}),",
            f"    .samples = (int8_t *)({p}_replay_block + {layout.past // 4}),",
            f"    .optimizer = &{p}_optimizer,",
            f"    .capacity = {layout.samples},",
            f"    .groups = {layout.groups},",
            f"    .sample_bytes = {layout.kept},",
            f"    .target_bytes = {layout.targets},",
            f"    .stride = {layout.stride},",
            "};",
        ]

    @property
    def empty(self) -> str:
        """The statement that forgets everything."""
        p = self.prefix
        return f"__builtin_memset({p}_replay_block, 0, sizeof {p}_replay_block);"

    @property
    def _last(self) -> str:
        return f"(int8_t *)({self.prefix}_replay_block + {self.layout.last // 4})"

    def keep(self, body: FunctionBody) -> list[str]:
        """Statements that keep the sample in the arena."""
        block, last = f"{self.prefix}_replay_block", self.layout.last
        return [
            *(
                f"    __builtin_memcpy({block} + {(last + at) // 4}, {pointer}, {size});"
                for at, pointer, size in body.kept
            ),
            f"    {block}[0] = 1;",
        ]

    def first_half(self, body: FunctionBody) -> list[str]:
        """A step up to the KEEP: the sample's way there, or back from what was kept."""
        return [
            "    if (features == NULL) {",
            *(f"    {line}" for line in [*body.prefix, *self.keep(body)]),
            "    } else {",
            *(
                f"        __builtin_memcpy({pointer}, features + {at}, {size});"
                for at, pointer, size in body.kept
            ),
            "    }",
        ]

    def functions(self) -> list[str]:
        """What stands behind <name>_step(target, features)."""
        p, layout = self.prefix, self.layout
        run = f"{p}_step"
        parts = []
        if layout.samples:
            run = f"{p}_remember"
            parts = [
                "",
                "/* A new sample, old ones, and a place for the new one. */",
                f"static tk_step {run}(const {p}_target *target, const int8_t *features)\n{{",
                f"    tk_step step = {p}_step(target, features);",
                "    if (step.status != TK_OK) {",
                "        return step;",
                "    }",
                "    TK_TRACE_PAUSE();",
                "    const uint32_t number = step.step;",
                f"    for (uint32_t i = 0; i < {layout.per_step}; i++) {{",
                f"        {p}_target old;",
                f"        const int8_t *sample = tk_replay_draw(&{p}_replay_set, number, i, &old);",
                "        if (sample != NULL) {",
                f"            const tk_step again = {p}_step(&old, sample);",
                "            tk_replay_add(&step, &again);",
                "        }",
                "    }",
                f"    tk_replay_insert(&{p}_replay_set, number,",
                f"                     features != NULL ? features : {self._last}, target);",
                "    TK_TRACE_RESUME();",
                "    return step;\n}",
            ]
        return [
            *parts,
            "",
            f"tk_step {p}_train(const {p}_target *target) {{ return {run}(target, NULL); }}",
            "",
            f"const int8_t *{p}_features(void)\n{{",
            f"    return {p}_replay_block[0] ? {self._last} : NULL;\n}}",
            "",
            f"tk_step {p}_train_features(const int8_t *features, const {p}_target *target)\n{{",
            "    if (features == NULL) {",
            "        return (tk_step){.status = TK_ERROR_SAMPLE, .prediction = -1};",
            "    }",
            f"    return {run}(target, features);\n}}",
            "",
            f"tk_step {p}_learn(const {p}_target *target)\n{{",
            f"    return {p}_train_features({p}_features(), target);\n}}",
            "",
            f"uint8_t *{p}_replay(void) {{ return (uint8_t *){p}_replay_block; }}",
        ]
