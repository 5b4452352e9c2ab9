"""Training steps of generated code on this machine, in a process under sanitizers."""

from __future__ import annotations

import ctypes
import pickle
import sys
from pathlib import Path

import numpy as np

from tests.support.training_kernels import Sample, sanitized_process
from tinykit.codegen import Manifest
from tinykit.host import HostModel, StepResult
from tinykit.host.library import build_library
from tinykit.ir import Array

Answer = tuple[StepResult, bytes, Array]


def train_generated(folder: Path, requests: list[Sample]) -> list[Answer]:
    """(answer, block of parameters, inference on the same sample afterwards) for each request.

    Before each run the arena is filled with noise, and the sample written into it.
    """
    build_library(folder, Manifest.load(folder), sanitize=True)
    process = sanitized_process(["-m", "tests.support.generated_training", str(folder)])
    output, _ = process.communicate(pickle.dumps(requests))
    assert process.returncode == 0, "a sanitizer stopped the generated code (see stderr)"
    answers: list[Answer] = pickle.loads(output)
    return answers


def _serve(folder: Path, requests: list[Sample]) -> list[Answer]:
    host = HostModel(folder, sanitize=True)
    random = np.random.default_rng(0)
    arena_bytes = host.manifest.memory.sram["arena"]
    entry = host._function("input")
    entry.restype = ctypes.c_void_p
    arena = entry() - host.manifest.input_offset

    def poison() -> None:
        noise = random.integers(0, 256, arena_bytes).astype(np.uint8)
        ctypes.memmove(arena, noise.ctypes.data, arena_bytes)

    answers = []
    for sample, label, apply in requests:
        poison()
        answer = host.train(sample, label)
        if apply:
            host.apply()
        poison()
        answers.append((answer, host.parameters(), host.infer(sample)))
    return answers


if __name__ == "__main__":
    pickle.dump(_serve(Path(sys.argv[1]), pickle.load(sys.stdin.buffer)), sys.stdout.buffer)
