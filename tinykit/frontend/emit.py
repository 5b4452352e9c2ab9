"""The C of one frontend by itself: constant tables, static memory and two functions."""

from __future__ import annotations

import re

from tinykit.errors import UsageError
from tinykit.frontend.audio import AudioFrontend
from tinykit.frontend.motion import MotionWindow
from tinykit.frontend.text import audio_text, motion_text


def frontend_files(frontend: AudioFrontend | MotionWindow, name: str) -> dict[str, str]:
    """{"NAME.h": …, "NAME.c": …}; name is a C identifier and prefixes what they define.

    UsageError: name is none.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise UsageError(f"frontend: {name!r} is not a C identifier")
    if isinstance(frontend, MotionWindow):
        head, functions = _motion(frontend, name)
        text = motion_text(frontend, name)
    else:
        head, functions = _audio(frontend, name)
        text = audio_text(frontend, name)
    header = f"""\
{head}
#ifdef __cplusplus
}}
#endif
#endif
"""
    source = f"""\
/* Frontend {name}, written by tinykit: see {name}.h. */
#include "{name}.h"

#include "{text.header}"

{text.lines}
{functions}"""
    return {f"{name}.h": header, f"{name}.c": source}


def _opening(name: str) -> str:
    guard = f"{name.upper()}_H"
    return f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n"


def _audio(f: AudioFrontend, name: str) -> tuple[str, str]:
    upper = name.upper()
    return (
        f"""\
/* Audio frontend {name}, written by tinykit.
 * {f.sample_rate} Hz, {f.frame} samples per window, a row of {f.features} features every {f.hop}.
 * Flash for tables: {f.tables.bytes} bytes; static memory: {f.ram} bytes. */
{_opening(name)}
#define {upper}_SAMPLE_RATE {f.sample_rate}
#define {upper}_HOP {f.hop}
#define {upper}_FEATURES {f.features}

#ifdef __cplusplus
extern "C" {{
#endif

/* Before the first sample, and to begin anew. */
void {name}_reset(void);
/* Takes samples until they end or a row is complete; returns how many it took. *rows is 1 if it
 * wrote row[{upper}_FEATURES], else 0. Push what is left again. */
uint32_t {name}_push(const int16_t *samples, uint32_t count, int8_t *row, uint32_t *rows);
""",
        f"""\
void {name}_reset(void) {{ tk_audio_frontend_reset(&{name}_config); }}

uint32_t {name}_push(const int16_t *samples, uint32_t count, int8_t *row, uint32_t *rows) {{
    return tk_audio_frontend_push(&{name}_config, samples, count, row, rows);
}}
""",
    )


def _motion(w: MotionWindow, name: str) -> tuple[str, str]:
    upper = name.upper()
    return (
        f"""\
/* Sensor windows {name}, written by tinykit.
 * {w.length} rows of {len(w.mean)} axes, a window every {w.hop} rows.
 * Static memory: {w.ram} bytes. */
{_opening(name)}
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
""",
        f"""\
void {name}_reset(void) {{ tk_motion_reset(&{name}_config); }}

uint32_t {name}_push(const int16_t row[{upper}_AXES], int8_t *window) {{
    return tk_motion_push(&{name}_config, row, window);
}}
""",
    )
