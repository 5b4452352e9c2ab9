"""Sensor windows: C and NumPy agree bit for bit, and both with normalisation in floating point."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.audio_frontend import at, library
from tests.support.kernels import RUNTIME, SANITIZE
from tinykit.errors import UsageError
from tinykit.frontend import MotionWindow, frontend_files
from tinykit.ir import Array


class Window(ctypes.Structure):
    _fields_ = (
        ("axes", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
        ("hop", ctypes.c_uint32),
        *((name, ctypes.c_void_p) for name in ("mean", "multiplier", "shift")),
        ("zero_point", ctypes.c_int32),
        ("rows", ctypes.c_void_p),
        ("filled", ctypes.c_void_p),
    )


def pushed(window: MotionWindow, x: Array) -> Array:
    """int8 [windows, length, axes] from C, row by row."""
    axes = len(window.mean)
    rows, filled = np.full((window.length, axes), 0x55, np.int8), np.full(1, 99, np.uint32)
    assert rows.nbytes + filled.nbytes == window.ram
    tables = window.tables
    config = Window(
        axes, window.length, window.hop, *map(at, tables), window.zero_point, at(rows), at(filled)
    )
    library().tk_motion_reset(ctypes.byref(config))
    made, y = [], np.empty_like(rows)
    for row in np.ascontiguousarray(x, np.int16):
        row = row.copy()
        if library().tk_motion_push(
            ctypes.byref(config), ctypes.c_void_p(at(row)), ctypes.c_void_p(at(y))
        ):
            made.append(y.copy())
    return np.array(made, np.int8).reshape(-1, window.length, axes)


@settings(max_examples=150, deadline=None)
@given(
    length=st.integers(1, 40),
    overlap=st.floats(0, 1),
    axes=st.lists(
        st.tuples(st.floats(-32768, 32767), st.floats(2**-6, 2**14)), min_size=1, max_size=6
    ),
    scale=st.floats(2**-8, 2),
    zero_point=st.integers(-128, 127),
    seed=st.integers(0, 1000),
)
def test_c_is_numpy(
    length: int, overlap: float, axes: list[tuple[float, float]], scale: float, zero_point: int,
    seed: int,
) -> None:  # fmt: skip
    mean, deviation = zip(*axes, strict=True)
    hop = length - int(overlap * (length - 1))
    window = MotionWindow(length, hop, mean, deviation, scale, zero_point)
    random = np.random.default_rng(seed)
    x = random.integers(-32768, 32768, (100, len(axes))).astype(np.int16)
    x[50:] = (np.array(mean) + random.normal(0, 1, (50, len(axes))) * deviation).clip(-32768, 32767)
    wanted = window.windows(x)
    np.testing.assert_array_equal(pushed(window, x), wanted)
    assert len(wanted) == (100 - length) // hop + 1
    rounded_mean = window.tables[0].astype(float)
    exact = ((x - rounded_mean) / deviation / scale + zero_point).clip(-128, 127)
    assert np.abs(window.normalize(x) - exact).max() <= 0.501


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("length", {"length": 0}), ("hop", {"hop": 0}), ("hop", {"hop": 11}),
        ("mean", {"mean": ()}), ("mean", {"mean": (0.0, 40000.0)}),
        ("deviation", {"deviation": (1.0,)}), ("deviation", {"deviation": (0.0, 1.0)}),
        ("deviation", {"deviation": (1.0, float("nan"))}), ("scale", {"scale": 0.0}),
        ("zero_point", {"zero_point": 200}),
    ],
)  # fmt: skip
def test_bad_settings_are_named(field: str, changes: dict[str, object]) -> None:
    good: dict[str, object] = {
        "length": 10, "hop": 5, "mean": (0.0, 1.0), "deviation": (1.0, 2.0), "scale": 0.1,
        "zero_point": 0,
    }  # fmt: skip
    with pytest.raises(UsageError, match=f"motion: {field} = "):
        MotionWindow(**{**good, **changes})  # type: ignore[arg-type]


def test_written_c_is_numpy(tmp_path: Path) -> None:
    window = MotionWindow(8, 3, (12.0, -300.4, 4096.0), (250.0, 410.5, 900.0), 0.03, -4)
    for name, text in frontend_files(window, "wrist").items():
        (tmp_path / name).write_text(text)
    built = tmp_path / "wrist.so"
    subprocess.run(
        ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-shared", "-fPIC",
         f"-I{RUNTIME / 'include'}", "-o", built, tmp_path / "wrist.c",
         RUNTIME / "src" / "motion_window.c"],
        check=True,
    )  # fmt: skip
    wrist = ctypes.CDLL(str(built))
    wrist.wrist_reset()
    x = np.random.default_rng(2).integers(-32768, 32768, (50, 3)).astype(np.int16)
    y, made = np.empty((8, 3), np.int8), []
    for row in x:
        row = row.copy()
        if wrist.wrist_push(ctypes.c_void_p(at(row)), ctypes.c_void_p(at(y))):
            made.append(y.copy())
    np.testing.assert_array_equal(np.array(made), window.windows(x))


def test_no_undefined_behaviour(tmp_path: Path) -> None:
    """The written C under sanitizers: extreme readings, the smallest and largest factors."""
    window = MotionWindow(3, 2, (-32768.0, 32767.0, 0.0), (2.0**-14, 2.0**15, 1.0), 1.0, -128)
    for name, text in frontend_files(window, "wrist").items():
        (tmp_path / name).write_text(text)
    (tmp_path / "main.c").write_text(
        """#include <stdio.h>
#include "wrist.h"
int main(void) {
    static const int16_t extremes[4] = {-32768, -1, 0, 32767};
    int8_t window[WRIST_LENGTH * WRIST_AXES];
    wrist_reset();
    for (uint32_t i = 0; i < 64; i++) {
        const int16_t row[3] = {extremes[i & 3], extremes[i >> 2 & 3], extremes[i >> 4]};
        if (wrist_push(row, window)) {
            fwrite(window, 1, sizeof window, stdout);
        }
    }
    return 0;
}
"""
    )
    subprocess.run(
        ["gcc", "-std=c11", "-O1", *SANITIZE, f"-I{RUNTIME / 'include'}", "-o", tmp_path / "main",
         tmp_path / "main.c", tmp_path / "wrist.c", RUNTIME / "src" / "motion_window.c"],
        check=True,
    )  # fmt: skip
    said = subprocess.run([tmp_path / "main"], check=True, capture_output=True, timeout=60).stdout
    extremes = np.array([-32768, -1, 0, 32767], np.int16)
    x = np.array([(extremes[i & 3], extremes[i >> 2 & 3], extremes[i >> 4]) for i in range(64)])
    np.testing.assert_array_equal(np.frombuffer(said, np.int8), window.windows(x).reshape(-1))
