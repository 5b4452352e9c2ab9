"""C text of the guard against divergence: its block of SRAM, its limits, and its calls.

The block holds what is known of the window under way (tk_guard_state), then the snapshots.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinykit.codegen.constants import number
from tinykit.codegen.cstruct import struct_types
from tinykit.ops.target import TargetForm
from tinykit.schedule.parameters import ParameterBlock
from tinykit.training.guard import Limits
from tinykit.training.plan import Guard

CALLS = 8  # of code, that all of it takes at most (see tinykit.build.bounds)
KERNELS = ("tk_guard_reset", "tk_guard_begin", "tk_guard_end", "tk_guard_back")


@dataclass(frozen=True)
class GuardText:
    """The parts of a model's C; kept, zeroed_from: bytes of the block of parameters."""

    prefix: str
    guard: Guard
    limits: Limits
    kept: int
    zeroed_from: int

    @classmethod
    def of(cls, prefix: str, guard: Guard, form: TargetForm, block: ParameterBlock) -> GuardText:
        """Raises PlanError where nothing is watched."""
        limits = Limits.of(guard, form)
        return cls(prefix, guard, limits, block.kept_bytes, block.zeroed_from)

    @property
    def bytes(self) -> int:
        """Of the block."""
        return struct_types()["tk_guard_state"].bytes + self.guard.snapshots * self.kept

    @property
    def entries(self) -> tuple[str, ...]:
        """Public functions, without the model's name."""
        return ("rollback", "rollbacks", "guard")

    def symbols(self) -> dict[str, tuple[str, int]]:
        """Objects: their line of the memory map and their bytes."""
        return {
            f"{self.prefix}_guard_block": ("guard", self.bytes),
            f"{self.prefix}_guard_set": ("tables", struct_types()["tk_guard"].bytes),
        }

    def header(self) -> list[str]:
        """Declarations."""
        p, upper = self.prefix, self.prefix.upper()
        return [
            "",
            f"#define {upper}_GUARD_BYTES {self.bytes}",
            "/* The guard: back to the snapshot, as it does by itself; and how often it has. */",
            f"void {p}_rollback(void);",
            f"uint32_t {p}_rollbacks(void);",
            f"/* All that it keeps, {upper}_GUARD_BYTES, not part of what is saved: init and load",
            " * take a new snapshot. Copy it out to save it, in (after a load) to restore it. */",
            f"uint8_t *{p}_guard(void);",
        ]

    def constants(self) -> list[str]:
        """The block and its descriptor."""
        p, state = self.prefix, struct_types()["tk_guard_state"].bytes
        second = state + self.kept
        candidate = f"{p}_guard_block + {second}" if self.guard.snapshots == 2 else "NULL"
        return [
            f"static _Alignas(8) uint8_t {p}_guard_block[{self.bytes}];",
            f"static const tk_guard {p}_guard_set = {{",
            f"    .limit = {self.limits.limit}u,",
            f"    .floor = {self.limits.floor}u,",
            f"    .parameters = &{p}_parameter_set,",
            f"    .state = (tk_guard_state *)(void *){p}_guard_block,",
            f"    .snapshot = {p}_guard_block + {state},",
            f"    .candidate = {candidate},",
            f"    .rate_factor = {number('float', self.guard.rate_factor)},",
            f"    .window = {self.guard.window},",
            f"    .factor = {self.limits.factor},",
            f"    .kept_bytes = {self.kept},",
            f"    .zeroed_from = {self.zeroed_from},",
            "};",
            "",
        ]

    @property
    def reset(self) -> str:
        """The statement that makes what learns the snapshot."""
        return f"tk_guard_reset(&{self.prefix}_guard_set);"

    @property
    def begin(self) -> str:
        """The statement behind the begin of a step."""
        return f"    tk_guard_begin(&{self.prefix}_guard_set);"

    @property
    def end(self) -> str:
        """The statement behind its end."""
        return f"    tk_guard_end(&{self.prefix}_guard_set, &step);"

    def functions(self) -> list[str]:
        """Those of the header."""
        p = self.prefix
        return [
            "",
            f"void {p}_rollback(void) {{ tk_guard_back(&{p}_guard_set); }}",
            "",
            f"uint32_t {p}_rollbacks(void) {{ return {p}_trainer.rollbacks; }}",
            "",
            f"uint8_t *{p}_guard(void) {{ return {p}_guard_block; }}",
        ]
