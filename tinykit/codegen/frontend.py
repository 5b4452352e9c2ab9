"""C text of what fills a model's input from raw samples: see tinykit.frontend.

`<name>_push` takes samples as they come. Whole inputs: it says when one is complete. Rows: it puts
each where `<name>_input_row` says, and gives the outputs after the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tinykit.errors import UsageError
from tinykit.frontend.audio import AudioFrontend
from tinykit.frontend.model import ModelFrontend
from tinykit.frontend.text import (
    AUDIO_BYTES,
    MOTION_BYTES,
    FrontendText,
    audio_text,
    motion_text,
)
from tinykit.ir import Tensor

CALLS = 8  # of code, that push, begin and the link's part take at most (see tinykit.build.bounds)
WINDOW_BYTES = 24  # of tk_audio_window, with 32-bit pointers
MEMORY, TABLES = "frontend", "frontend tables"  # lines of the memory map


@dataclass(frozen=True)
class FrontendCode:
    """The parts of a model's C; rows: its input arrives row by row."""

    prefix: str
    frontend: ModelFrontend
    rows: bool

    def check(self, tensor: Tensor) -> None:
        """UsageError where rows of features are no rows of the model's input."""
        f = self.frontend
        if self.rows and (tensor.shape[1] != f.rows or f.hop != f.rows):
            raise UsageError(
                f"frontend: row by row, {tensor.name} {list(tensor.shape)} takes {tensor.shape[1]} "
                f"rows that do not overlap, not {f.rows} of {f.features} every {f.hop}",
                "leave out input_hop, or [model] input_rows",
            )

    @cached_property
    def _text(self) -> FrontendText:
        source, prefix = self.frontend.source, f"{self.prefix}_frontend"
        if isinstance(source, AudioFrontend):
            return audio_text(source, prefix)
        return motion_text(source, prefix, windows=not self.rows)

    @property
    def _window(self) -> bool:
        """Whether rows of sound are collected; those of motion always are."""
        return self.frontend.audio and not self.rows

    @property
    def include(self) -> str:
        return f'#include "{self._text.header}"'

    def symbols(self) -> dict[str, tuple[str, int]]:
        """Objects: their line of the memory map and their bytes."""
        p, f = f"{self.prefix}_frontend", self.frontend
        found = {name: (TABLES, size) for name, size in self._text.tables.items()}
        found |= {name: (MEMORY, size) for name, size in self._text.memory.items()}
        if self._window:
            found[f"{p}_inputs"] = (TABLES, WINDOW_BYTES)
            found[f"{p}_window_rows"] = (MEMORY, f.rows * f.features)
            found[f"{p}_held"] = (MEMORY, 4)
        return found

    @property
    def kernels(self) -> set[str]:
        """Runtime functions that the code calls."""
        if not self.frontend.audio:
            return {"tk_motion_normalize"} if self.rows else {"tk_motion_push", "tk_motion_reset"}
        part = "window" if self._window else "frontend"
        return {f"tk_audio_{part}_push", f"tk_audio_{part}_reset"}

    def header(self) -> list[str]:
        """The interface."""
        p, upper, f = self.prefix, self.prefix.upper(), self.frontend
        what = "samples" if f.audio else f"readings (of {f.axes} values)"
        lines = [
            "",
            f"/* The input is {f.rows} rows of {f.features} features, a new one every {f.hop}. */",
            f"#define {upper}_READING_VALUES {f.axes}",
        ]
        if isinstance(f.source, AudioFrontend):
            lines += [
                f"#define {upper}_SAMPLE_RATE {f.source.sample_rate}",
                f"#define {upper}_SAMPLES_PER_ROW {f.source.hop}",
            ]
        lines += [f"void {p}_begin(void); /* forgets what was pushed: a new recording begins */"]
        if self.rows:
            return [
                *lines,
                f"/* Takes {what} until they end or there are outputs; returns how many it",
                f" * took. *outputs is NULL, or what {p}_row returns. Push the rest again. */",
                f"uint32_t {p}_push(const int16_t *samples, uint32_t count,",
                "    const int8_t **outputs);",
            ]
        return [
            *lines,
            f"/* Takes {what} until they end or the input is complete; returns how many it",
            " * took. *ready is then 1, for infer or train, else 0. Push the rest again. */",
            f"uint32_t {p}_push(const int16_t *samples, uint32_t count, uint32_t *ready);",
        ]

    def definitions(self) -> list[str]:
        """Constants and memory."""
        p, f = f"{self.prefix}_frontend", self.frontend
        lines = [self._text.lines]
        if self._window:
            lines += [
                f"static int8_t {p}_window_rows[{f.rows * f.features}];",
                f"static uint32_t {p}_held;",
                f"static const tk_audio_window {p}_inputs = {{",
                f"    &{p}_config, {f.rows}, {f.features}, {f.hop}, {p}_window_rows, &{p}_held,",
                "};",
            ]
        return lines

    def checks(self) -> list[str]:
        """The memory map counts on these sizes, where pointers have 32 bits."""
        sizes = {"tk_audio_frontend": AUDIO_BYTES, "tk_audio_window": WINDOW_BYTES}
        if not self.frontend.audio:
            sizes = {"tk_motion_window": MOTION_BYTES}
        return [f'_Static_assert(sizeof({t}) == {n}, "layout of {t}");' for t, n in sizes.items()]

    def functions(self) -> list[str]:
        """`begin` and `push`."""
        p = self.prefix
        begin, body = self._rows() if self.rows else self._whole()
        out = "const int8_t **outputs" if self.rows else "uint32_t *ready"
        return [
            "",
            f"void {p}_begin(void)\n{{",
            *begin,
            "}",
            "",
            f"uint32_t {p}_push(const int16_t *samples, uint32_t count, {out})\n{{",
            *body,
            "}",
        ]

    def _whole(self) -> tuple[list[str], list[str]]:
        p, config = self.prefix, f"&{self.prefix}_frontend_config"
        if self.frontend.audio:
            inputs = f"&{p}_frontend_inputs"
            return (
                [f"    tk_audio_window_reset({inputs});"],
                [f"    return tk_audio_window_push({inputs}, samples, count, {p}_input(), ready);"],
            )
        return (
            [f"    tk_motion_reset({config});"],
            [
                "    uint32_t taken = 0;",
                "    *ready = 0;",
                "    while (taken < count && *ready == 0) {",
                f"        *ready = tk_motion_push({config}, samples, {p}_input());",
                f"        samples += {self.frontend.axes};",
                "        taken++;",
                "    }",
                "    return taken;",
            ],
        )

    def _rows(self) -> tuple[list[str], list[str]]:
        p, config, audio = self.prefix, f"&{self.prefix}_frontend_config", self.frontend.audio
        step = [
            "        uint32_t made;",
            f"        taken += tk_audio_frontend_push({config}, samples + taken, count - taken,",
            f"            {p}_input_row(), &made);",
            f"        *outputs = made ? {p}_row() : NULL;",
        ]
        if not audio:
            step = [
                f"        tk_motion_normalize({config}, samples, {p}_input_row());",
                f"        samples += {self.frontend.axes};",
                "        taken++;",
                f"        *outputs = {p}_row();",
            ]
        return (
            [*([f"    tk_audio_frontend_reset({config});"] if audio else []), f"    {p}_init();"],
            [
                "    uint32_t taken = 0;",
                "    *outputs = NULL;",
                "    while (taken < count && *outputs == NULL) {",
                *step,
                "    }",
                "    return taken;",
            ],
        )
