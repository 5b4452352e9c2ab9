"""What TensorFlow Lite Micro makes of a model (PyPI tflite-micro), in a process of its own: it
aborts on what it does not like, and must not meet TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinykit.errors import TargetError

ARENA = 4 << 20  # bytes, enough for every model here


def tflm_outputs(model: Path, samples: Sequence[NDArray[np.int8]]) -> list[NDArray[np.int8]]:
    """The outputs for each sample, flat. Raises TargetError where TFLM is missing or refuses."""
    if find_spec("tflite_micro") is None:
        raise TargetError("TensorFlow Lite Micro is not installed", "pip install tflite-micro")
    stacked = np.stack(samples)
    command = [sys.executable, "-m", "bench.measuring.golden", str(model), str(len(samples))]
    done = subprocess.run(command, input=stacked.tobytes(), capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise TargetError(f"{model}: TensorFlow Lite Micro refuses it: {said[-1] if said else ''}")
    return list(np.frombuffer(done.stdout, np.int8).reshape(len(samples), -1))


def _serve(model: Path, count: int) -> None:
    from tflite_micro.python.tflite_micro import runtime

    stacked = np.frombuffer(sys.stdin.buffer.read(), np.int8).reshape(count, -1)
    interpreter = runtime.Interpreter.from_bytes(model.read_bytes(), arena_size=ARENA)
    shape = interpreter.get_input_details(0)["shape"]
    for sample in stacked:
        interpreter.set_input(sample.reshape(shape), 0)
        interpreter.invoke()
        sys.stdout.buffer.write(np.asarray(interpreter.get_output(0)).tobytes())


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
