"""The C of one frontend: constant tables, static memory and two functions."""

from __future__ import annotations

import re

from tinykit.errors import UsageError
from tinykit.frontend.audio import NOISE_BITS, WINDOW_BITS, AudioFrontend
from tinykit.frontend.motion import MotionWindow
from tinykit.ir import Array


def frontend_files(frontend: AudioFrontend | MotionWindow, name: str) -> dict[str, str]:
    """{"NAME.h": …, "NAME.c": …}; name is a C identifier and prefixes what they define.

    UsageError: name is none.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise UsageError(f"frontend: {name!r} is not a C identifier")
    if isinstance(frontend, MotionWindow):
        return {
            f"{name}.h": _motion_header(frontend, name),
            f"{name}.c": _motion_source(frontend, name),
        }
    return {f"{name}.h": _header(frontend, name), f"{name}.c": _source(frontend, name)}


def _header(f: AudioFrontend, name: str) -> str:
    upper = name.upper()
    return f"""\
/* Audio frontend {name}, written by tinykit.
 * {f.sample_rate} Hz, {f.frame} samples per window, a row of {f.channels} features every {f.hop}.
 * Flash for tables: {f.tables.bytes} bytes; static memory: {f.ram} bytes. */
#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#define {upper}_SAMPLE_RATE {f.sample_rate}
#define {upper}_HOP {f.hop}
#define {upper}_CHANNELS {f.channels}

#ifdef __cplusplus
extern "C" {{
#endif

/* Before the first sample, and to begin anew. */
void {name}_reset(void);
/* Takes samples until they end or a row is complete; returns how many it took. *rows is 1 if it
 * wrote row[{upper}_CHANNELS], else 0. Push what is left again. */
uint32_t {name}_push(const int16_t *samples, uint32_t count, int8_t *row, uint32_t *rows);

#ifdef __cplusplus
}}
#endif
#endif
"""


def _source(f: AudioFrontend, name: str) -> str:
    t = f.tables
    (even, odd), (rest_even, rest_odd) = f.smoothing()
    bins = f.fft // 2 + 1
    tables = {"window": t.window, "weights": t.weights, "unweights": t.unweights}
    tables |= {"bins": t.bins, "offsets": t.offsets, "widths": t.widths}
    if f.pcan:
        tables["gain"] = t.gain
    constants = "".join(
        f"static const int16_t {key}[{len(table)}] = {{\n{_numbers(table)}}};\n"
        for key, table in tables.items()
    )
    twiddles = "".join(
        f"static const tk_complex16 {key}[{len(table)}] = {{\n{_pairs(table)}}};\n"
        for key, table in (("twiddles", t.twiddles), ("super_twiddles", t.super_twiddles))
    )
    return f"""\
/* Audio frontend {name}, written by tinykit: see {name}.h. */
#include "{name}.h"

#include "tinykit/signal.h"

{constants}{twiddles}
static int16_t window_samples[{f.frame}], scaled[{f.frame}], logs[{f.channels}];
static tk_complex16 spectrum[{bins}];
static uint32_t filled, energy[{bins}], signal[{f.channels}], estimate[{f.channels}];
static uint64_t sums[{f.channels}];

static const tk_audio_frontend frontend = {{
    .frame = {f.frame},
    .hop = {f.hop},
    .window = window,
    .window_shift = {WINDOW_BITS},
    .fft = {{{f.fft}, twiddles, super_twiddles}},
    .first_bin = {f.first_bin},
    .end_bin = {f.end_bin},
    .bank = {{{f.channels}, weights, unweights, bins, offsets, widths}},
    .noise = {{{{{even}, {odd}}}, {{{rest_even}, {rest_odd}}}, {f.least_signal},
              {f.smoothing_bits}, {NOISE_BITS}, {int(f.clamping)}}},
    .gain = {"gain" if f.pcan else "0"},
    .snr_shift = {f.snr_shift},
    .log_scale = {f.log_scale},
    .correction = {f.correction},
    .multiplier = {f.multiplier},
    .divisor = {f.divisor},
    .zero_point = {f.zero_point},
    .samples = window_samples,
    .filled = &filled,
    .scaled = scaled,
    .spectrum = spectrum,
    .energy = energy,
    .sums = sums,
    .signal = signal,
    .estimate = estimate,
    .logs = logs,
}};

void {name}_reset(void) {{ tk_audio_frontend_reset(&frontend); }}

uint32_t {name}_push(const int16_t *samples, uint32_t count, int8_t *row, uint32_t *rows) {{
    return tk_audio_frontend_push(&frontend, samples, count, row, rows);
}}
"""


def _motion_header(w: MotionWindow, name: str) -> str:
    upper = name.upper()
    return f"""\
/* Sensor windows {name}, written by tinykit.
 * {w.length} rows of {len(w.mean)} axes, a window every {w.hop} rows.
 * Static memory: {w.ram} bytes. */
#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#define {upper}_LENGTH {w.length}
#define {upper}_HOP {w.hop}
#define {upper}_AXES {len(w.mean)}

#ifdef __cplusplus
extern "C" {{
#endif

/* Before the first row, and to begin anew. */
void {name}_reset(void);
/* Takes one row; 1 if it completed a window: window[{upper}_LENGTH * {upper}_AXES]; else 0. */
uint32_t {name}_push(const int16_t row[{upper}_AXES], int8_t *window);

#ifdef __cplusplus
}}
#endif
#endif
"""


def _motion_source(w: MotionWindow, name: str) -> str:
    axes, (mean, multiplier, shift) = len(w.mean), w.tables
    return f"""\
/* Sensor windows {name}, written by tinykit: see {name}.h. */
#include "{name}.h"

#include "tinykit/motion.h"

static const int16_t mean[{axes}] = {{
{_numbers(mean)}}};
static const int32_t multiplier[{axes}] = {{
{_numbers(multiplier)}}};
static const uint8_t shift[{axes}] = {{
{_numbers(shift)}}};

static int8_t rows[{w.length * axes}];
static uint32_t filled;

static const tk_motion_window config = {{
    {axes}, {w.length}, {w.hop}, mean, multiplier, shift, {w.zero_point}, rows, &filled,
}};

void {name}_reset(void) {{ tk_motion_reset(&config); }}

uint32_t {name}_push(const int16_t row[{name.upper()}_AXES], int8_t *window) {{
    return tk_motion_push(&config, row, window);
}}
"""


def _numbers(table: Array) -> str:
    return _lines([str(v) for v in table.tolist()], 12)


def _pairs(table: Array) -> str:
    return _lines([f"{{{real}, {imag}}}" for real, imag in table.tolist()], 6)


def _lines(values: list[str], count: int) -> str:
    cut = [values[i : i + count] for i in range(0, len(values), count)]
    return "".join("    " + ", ".join(line) + ",\n" for line in cut)
