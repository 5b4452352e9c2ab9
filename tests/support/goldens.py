"""Reference results: TensorFlow Lite Micro, and tflite-runtime's reference kernels."""

from __future__ import annotations

import atexit
import pickle
import subprocess
import sys
from collections.abc import Sequence
from functools import cache

import numpy as np

from tinykit.ir import Array

ARENA = 4 << 20


class Tflm:
    """TensorFlow Lite Micro (PyPI tflite-micro) in a process of its own: it aborts on what it
    does not like."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, model: bytes, *inputs: Array) -> list[Array]:
        """The outputs of a model, run after run; AssertionError where it refuses or aborts."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.goldens", "tflm"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pickle.dump((model, inputs), self.process.stdin)
        self.process.stdin.flush()
        try:
            result = pickle.load(self.process.stdout)
        except EOFError:
            self.close()
            raise AssertionError("TFLM aborted on the model") from None
        assert isinstance(result, list), f"TFLM refuses the model: {result}"
        return result

    def close(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait(timeout=10)
        self.process = None


@cache
def _tflm() -> Tflm:
    worker = Tflm()
    atexit.register(worker.close)
    return worker


def tflm(model: bytes, x: Array) -> Array:
    """The output of a model under TensorFlow Lite Micro."""
    return _tflm().run(model, x)[0]


def tflm_stream(model: bytes, inputs: Sequence[Array]) -> list[Array]:
    """The outputs of one interpreter for all inputs; it keeps the model's variables."""
    return _tflm().run(model, *inputs)


def tflite_reference(models: list[tuple[bytes, Array]]) -> list[Array]:
    """The outputs under tflite-runtime's BUILTIN_REF kernels, in a process without TensorFlow."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.support.goldens"],
        input=pickle.dumps(models), capture_output=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr.decode()[-2000:]
    outputs: list[Array] = pickle.loads(result.stdout)
    return outputs


def _serve_tflm() -> None:
    from tflite_micro.python.tflite_micro import runtime

    while True:
        try:
            model, inputs = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        result: object
        try:
            interpreter = runtime.Interpreter.from_bytes(model, arena_size=ARENA)
            outputs = []
            for x in inputs:
                interpreter.set_input(x, 0)
                interpreter.invoke()
                outputs.append(np.array(interpreter.get_output(0)))
            result = outputs
        except Exception as error:  # reported to the test
            result = str(error)
        pickle.dump(result, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _serve_tflite() -> None:
    from tflite_runtime.interpreter import Interpreter, OpResolverType

    outputs = []
    for model, x in pickle.load(sys.stdin.buffer):
        interpreter = Interpreter(
            model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
        )
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    pickle.dump(outputs, sys.stdout.buffer)


if __name__ == "__main__":
    _serve_tflm() if sys.argv[1:] == ["tflm"] else _serve_tflite()
