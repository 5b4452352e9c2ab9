"""A frontend's C as a library of this machine: features of recordings, as the device makes them.

For motion NumPy does as well: it is exact and needs no loop over readings.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from tinykit.build.project import user_cache_dir
from tinykit.frontend.emit import frontend_files
from tinykit.frontend.model import ModelFrontend
from tinykit.host.library import FLAGS, host_compiler
from tinykit.host.runtime import run_compiler, runtime_digest, runtime_dir, runtime_objects
from tinykit.ir import Array


class HostFrontend:
    """The C of one frontend; BuildError without a compiler."""

    def __init__(self, frontend: ModelFrontend) -> None:
        self.frontend = frontend
        self._library = ctypes.CDLL(str(_library(frontend)))

    def inputs(self, recording: Array, source: str = "recording") -> Array:
        """As ModelFrontend.inputs: int8 [inputs, rows * features] of one int16 recording."""
        f = self.frontend
        x = np.ascontiguousarray(f.checked(recording, source))
        if not f.audio:
            return f.inputs(x, source)
        self._library.sound_reset()
        row, made, rows = np.zeros(f.features, np.int8), ctypes.c_uint32(), []
        at = 0
        while at < len(x):
            at += self._library.sound_push(
                ctypes.c_void_p(x.ctypes.data + 2 * at),
                ctypes.c_uint32(len(x) - at),
                ctypes.c_void_p(row.ctypes.data),
                ctypes.byref(made),
            )
            if made.value:
                rows.append(row.copy())
        return f.cut(np.array(rows))


def _library(frontend: ModelFrontend) -> Path:
    """Compiled once for each text, compiler and runtime."""
    source, compiler = frontend.source, host_compiler()
    texts = frontend_files(source, "sound")
    facts = (compiler, FLAGS, runtime_digest(), texts)
    folder = user_cache_dir() / "host" / "frontends"
    library = folder / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            for name, text in texts.items():
                (Path(work) / name).write_text(text)
            objects = map(str, runtime_objects(compiler, FLAGS))
            made = Path(work) / "sound.so"
            run_compiler(
                [*compiler, *FLAGS, "-shared", f"-I{runtime_dir() / 'include'}", f"-I{work}",
                 str(Path(work) / "sound.c"), *objects, "-o", str(made)]
            )  # fmt: skip
            os.replace(made, library)
    return library
