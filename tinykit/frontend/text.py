"""The constants and the static memory of one frontend in C, under names with a prefix."""

from __future__ import annotations

from dataclasses import dataclass

from tinykit.frontend.audio import NOISE_BITS, WINDOW_BITS, AudioFrontend
from tinykit.frontend.motion import MotionWindow
from tinykit.ir import Array

AUDIO_BYTES, MOTION_BYTES = 168, 36  # of tk_audio_frontend and tk_motion_window, 32-bit pointers


@dataclass(frozen=True)
class FrontendText:
    """tables and memory: bytes of each object; PREFIX_config is the runtime's struct."""

    lines: str
    header: str  # of the runtime
    tables: dict[str, int]
    memory: dict[str, int]


def audio_text(f: AudioFrontend, prefix: str) -> FrontendText:
    """What `tk_audio_frontend_push` works with."""
    p, t = prefix, f.tables
    (even, odd), (rest_even, rest_odd) = f.smoothing()
    bins = f.fft // 2 + 1
    tables = {f"{p}_{name}": table for name, table in vars(t).items() if table.size}
    memory = {
        "samples": ("int16_t", 2, f.frame),
        "filled": ("uint32_t", 4, 1),
        "scaled": ("int16_t", 2, f.frame),
        "spectrum": ("tk_complex16", 4, bins),
        "energy": ("uint32_t", 4, bins),
        "sums": ("uint64_t", 8, f.channels),
        "signal": ("uint32_t", 4, f.channels),
        "estimate": ("uint32_t", 4, f.channels),
        "logs": ("int16_t", 2, f.channels),
    }
    constants = "".join(map(_constant, tables, tables.values()))
    variables = "".join(
        f"static {ctype} {p}_{name}[{count}];\n" for name, (ctype, _, count) in memory.items()
    )
    pointers = "".join(f"    .{name} = {p}_{name},\n" for name in memory)
    bank = ", ".join(f"{p}_{name}" for name in ("weights", "unweights", "bins", "offsets"))
    return FrontendText(
        f"""\
{constants}
{variables}
static const tk_audio_frontend {p}_config = {{
    .frame = {f.frame},
    .hop = {f.hop},
    .window = {p}_window,
    .window_shift = {WINDOW_BITS},
    .fft = {{{f.fft}, {p}_twiddles, {p}_super_twiddles}},
    .first_bin = {f.first_bin},
    .end_bin = {f.end_bin},
    .bank = {{{f.channels}, {bank},
             {p}_widths}},
    .noise = {{{{{even}, {odd}}}, {{{rest_even}, {rest_odd}}}, {f.least_signal},
              {f.smoothing_bits}, {NOISE_BITS}, {int(f.clamping)}}},
    .gain = {f"{p}_gain" if f.pcan else "0"},
    .snr_shift = {f.snr_shift},
    .log_scale = {f.log_scale},
    .correction = {f.correction},
    .coefficients = {f.mfcc},
    .basis = {f"{p}_basis" if f.mfcc else "0"},
    .basis_shift = {f.basis_shift},
    .multiplier = {f.multiplier},
    .divisor = {f.divisor},
    .zero_point = {f.zero_point},
{pointers}}};
""",
        "tinykit/signal.h",
        {name: table.nbytes for name, table in tables.items()} | {f"{p}_config": AUDIO_BYTES},
        {f"{p}_{name}": size * count for name, (_, size, count) in memory.items()},
    )


def motion_text(w: MotionWindow, prefix: str, windows: bool = True) -> FrontendText:
    """What `tk_motion_push` works with; without windows, only `tk_motion_normalize`."""
    p, axes = prefix, len(w.mean)
    tables = dict(zip((f"{p}_mean", f"{p}_multiplier", f"{p}_shift"), w.tables, strict=True))
    constants = "".join(map(_constant, tables, tables.values()))
    memory = {f"{p}_rows": w.length * axes, f"{p}_filled": 4} if windows else {}
    variables = f"""\
static int8_t {p}_rows[{w.length * axes}];
static uint32_t {p}_filled;
"""
    return FrontendText(
        f"""\
{constants}
{variables if windows else ""}
static const tk_motion_window {p}_config = {{
    .axes = {axes},
    .length = {w.length},
    .hop = {w.hop},
    .mean = {p}_mean,
    .multiplier = {p}_multiplier,
    .shift = {p}_shift,
    .zero_point = {w.zero_point},
    .rows = {f"{p}_rows" if windows else "0"},
    .filled = {f"&{p}_filled" if windows else "0"},
}};
""",
        "tinykit/motion.h",
        {name: table.nbytes for name, table in tables.items()} | {f"{p}_config": MOTION_BYTES},
        memory,
    )


def _constant(name: str, table: Array) -> str:
    ctype, count, values = f"{table.dtype.name}_t", table.size, list(map(str, table.ravel()))
    per_line = 12
    if name.endswith("twiddles"):
        ctype, count, per_line = "tk_complex16", len(table), 6
        values = [f"{{{real}, {imag}}}" for real, imag in table.tolist()]
    cut = [values[i : i + per_line] for i in range(0, len(values), per_line)]
    lines = "".join("    " + ", ".join(line) + ",\n" for line in cut)
    return f"static const {ctype} {name}[{count}] = {{\n{lines}}};\n"
