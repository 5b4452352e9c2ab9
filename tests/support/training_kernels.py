"""Runs training graphs through the C kernels, op by op, straight from `Operator.lower`.

No code is generated: one library serves thousands of random networks.  Every tensor is a heap
block of its own, so that in a sanitized process (`Sanitized`) a byte outside is an error.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.kernels import CTYPES, _struct, build
from tinykit.codegen.cstruct import struct_types
from tinykit.codegen.sources import SCHEDULES
from tinykit.ir import Array, Graph, Op
from tinykit.ops.base import Call
from tinykit.ops.evaluate import Step, initial_values
from tinykit.ops.registry import operator
from tinykit.ops.target import Target
from tinykit.ops.update import is_state
from tinykit.training.gradient_types import most_headroom
from tinykit.training.loss import target_form
from tinykit.training.plan import Optimizer


def structure(name: str) -> type[ctypes.Structure]:
    """A ctypes class for a struct of the runtime."""
    scalars = CTYPES | {"tk_status": ctypes.c_int}
    members = [
        (m.name, ctypes.c_void_p if m.pointer else scalars[m.ctype])
        for m in struct_types()[name].members
    ]
    return type(name, (ctypes.Structure,), {"_fields_": members})


TRAINER, OPTIMIZER, TRAINED, PARAMETERS, TARGET, STEP, CHANGE = (
    structure(f"tk_{name}")
    for name in ("trainer", "optimizer", "trained", "parameters", "target", "step", "change")
)


def trainer_fields(step: Step) -> dict[str, Any]:
    """A trainer's members in the middle of a step."""
    return {
        "step": step.index,
        "skipped": step.index - step.updates,
        "begun": int(not step.first),
        "rate": step.rate,
        "learning_rate": step.learning_rate,
        "normalisation": step.normalisation,
        "headroom": step.headroom,
    }


@dataclass(frozen=True)
class StepAnswer:
    """tk_step, and the trainer's rate as the loss left it."""

    status: int
    prediction: int
    loss: float
    step: int
    saturations: int
    skipped: int
    updated: int


def _pointer(array: Array) -> int:
    return int(array.ctypes.data)


class OpRunner:
    """Calls the C of single ops on given values."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))

    def run(
        self,
        graph: Graph,
        op: Op,
        values: dict[str, Array],
        special: dict[str, Any],
        over: int | None = None,
    ) -> None:
        """Adds the op's outputs to `values` and changes what it updates, in place; the first output
        over the input at position `over`, if one is given."""
        rule = operator(op.kind)
        if rule.alias:
            shape = graph[op.outputs[0]].shape
            values[op.outputs[0]] = values[op.inputs[0]].reshape(shape)
            return
        for name in op.outputs:
            values[name] = np.full(graph[name].shape, 0x55, np.dtype(graph[name].dtype))
        if over is not None:
            (output,), memory = op.outputs, values[op.inputs[over]].view(np.uint8).ravel()
            memory = memory[: graph[output].bytes].view(np.dtype(graph[output].dtype))
            values[output] = memory.reshape(graph[output].shape)
        for call in rule.lower(graph, op):
            self.call(call, values, special)

    def call(self, call: Call, values: Mapping[str, Array], special: dict[str, Any]) -> None:
        kept: list[Any] = []
        arguments: list[Any] = []
        if call.descriptor is not None:
            arguments.append(ctypes.byref(_struct(call.descriptor, dict(values), kept)))
        for name in call.arguments:
            if name in special:
                arguments.append(ctypes.byref(special[name]))
                continue
            buffer = values[name] if name != "$scratch" else np.full(call.scratch, 0x55, np.uint8)
            kept.append(buffer)
            arguments.append(ctypes.c_void_p(_pointer(buffer)))
        getattr(self.library, call.function)(*arguments)

    def op_result(
        self, graph: Graph, op: Op, values: dict[str, Array], step: Step
    ) -> tuple[list[Array], int]:
        """Outputs and updated parameters of one op, and the values that saturated; the same where
        the output lies on an input, if it may."""
        over = operator(op.kind).overwrites(graph, op)
        found = self._op_result(graph, op, values, step)
        if over is not None:
            again, saturations = self._op_result(graph, op, values, step, over)
            np.testing.assert_array_equal(again[0], found[0][0], f"{op.kind} in place")
            assert saturations == found[1]
        return found

    def _op_result(
        self, graph: Graph, op: Op, values: dict[str, Array], step: Step, over: int | None = None
    ) -> tuple[list[Array], int]:
        values = {name: graph[name].stored(value).copy() for name, value in values.items()}
        trainer = TRAINER(**trainer_fields(step))
        self.run(graph, op, values, {"$trainer": trainer}, over)
        names = (*op.outputs, *op.updates)
        return [graph[name].restored(values[name]) for name in names], trainer.saturations


@dataclass
class KernelTrainer:
    """Training steps as generated code makes them."""

    graph: Graph
    optimizer: Optimizer
    library: Path

    def __post_init__(self) -> None:
        self.runner = OpRunner(self.library)
        self.constants = {
            name: self.graph[name].stored(value).copy()
            for name, value in initial_values(self.graph).items()
        }
        self.memory = {
            name: value
            for name, value in self.constants.items()
            if self.graph[name].storage == "parameters"
        }
        optimizer = self.optimizer
        form = target_form(self.graph)
        self.trainer = TRAINER()
        self.trainer.classes = form.first_classes
        self._optimizer = OPTIMIZER(
            optimizer.learning_rate,
            optimizer.step_factor,
            SCHEDULES[optimizer.schedule],
            optimizer.step_size,
            optimizer.warmup_steps,
            optimizer.total_steps,
            optimizer.accumulate,
            int(optimizer.master == "int32"),
            optimizer.seed,
            form.classes,
            form.first_classes,
            form.values,
            most_headroom(self.graph),
        )
        self.set = PARAMETERS()
        self.set.trainer = ctypes.addressof(self.trainer)
        self.set.optimizer = ctypes.addressof(self._optimizer)
        self._lists = []
        for kind, dtype in (("bias", "int32"), ("weight", "int8")):
            names = [
                name
                for name in self.memory
                if self.graph[name].dtype == dtype and not is_state(name)
            ]
            rows = (TRAINED * len(names))(*map(self._trained, names))
            self._lists.append(rows)
            setattr(self.set, "biases" if kind == "bias" else "weights", ctypes.addressof(rows))
            setattr(self.set, f"{kind}_count", len(names))
        self._changes = (CHANGE * sum(map(len, self._lists)))()
        self.set.changes = ctypes.addressof(self._changes)

    def _trained(self, name: str) -> ctypes.Structure:
        residual = self.memory.get(f"{name}/residual")
        array = self.memory[name]
        return TRAINED(
            _pointer(array), None if residual is None else _pointer(residual), array.size
        )

    def step(self, sample: Array, told: Target) -> StepAnswer:
        """One sample."""
        label = told if isinstance(told, int) else 0
        values = told.copy() if isinstance(told, np.ndarray) else None
        target, step = TARGET(label, None if values is None else _pointer(values)), STEP()
        begun = self.runner.library.tk_step_begin(
            ctypes.byref(self.set), ctypes.byref(target), ctypes.byref(step)
        )
        if begun == 0:
            tensors = dict(self.constants)
            tensors[self.graph.inputs[0]] = np.ascontiguousarray(sample).copy()
            special = {"$trainer": self.trainer, "$target": target, "$step": step}
            for op in self.graph.ops:
                self.runner.run(self.graph, op, tensors, special)
                if getattr(self.trainer, "skips"):  # noqa: B009 - ctypes tells mypy nothing
                    break
            self.runner.library.tk_step_end(ctypes.byref(self.set), ctypes.byref(step))
        return StepAnswer(
            step.status,
            step.prediction,
            step.loss,
            step.step,
            step.saturations,
            step.skipped,
            step.updated,
        )

    @property
    def parameters(self) -> dict[str, Array]:
        """Copies of what is trained, by name, in the tensors' shapes."""
        return {n: self.graph[n].restored(v).copy() for n, v in self.memory.items()}

    def apply(self) -> None:
        self.runner.library.tk_parameters_apply(ctypes.byref(self.set))


# --- requests that a process may serve ------------------------------------------------------------

Sample = tuple[Array, Target, bool]  # sample, target, apply() afterwards


def train(library: Path, graph: Graph, optimizer: Optimizer, samples: list[Sample]) -> list[Any]:
    """[(answer, parameters) after each sample]."""
    trainer = KernelTrainer(graph, optimizer, library)
    history = []
    for sample, label, apply in samples:
        answer = trainer.step(sample, label)
        if apply:
            trainer.apply()
        history.append((answer, trainer.parameters))
    return history


def single_op(
    library: Path, graph: Graph, op: Op, values: dict[str, Array], step: Step
) -> tuple[list[Array], int]:
    return OpRunner(library).op_result(graph, op, values, step)


def single_loss(
    library: Path,
    graph: Graph,
    op: Op,
    values: dict[str, Array],
    told: Target,
    rate: float,
    headroom: int = 0,
) -> tuple[Array, float, int, float, bool]:
    """(gradient, loss, prediction, rate, whether the step ends) of a loss op."""
    trainer, step = TRAINER(), STEP()
    trainer.rate, trainer.headroom, step.prediction = rate, headroom, -1
    label = told if isinstance(told, int) else 0
    target = TARGET(label, _pointer(told) if isinstance(told, np.ndarray) else None)
    values = {name: value.copy() for name, value in values.items()}
    OpRunner(library).run(
        graph, op, values, {"$trainer": trainer, "$target": target, "$step": step}
    )
    return values[op.outputs[0]], step.loss, step.prediction, trainer.rate, bool(trainer.skips)


def call_scalars(library: Path, function: str, values: Array) -> Array:
    """tk_exp or tk_log of each float32."""
    scalar = getattr(ctypes.CDLL(str(library)), function)
    scalar.restype, scalar.argtypes = ctypes.c_float, (ctypes.c_float,)
    return np.array([scalar(float(x)) for x in values], np.float32)


class Sanitized:
    """Serves the functions above in a process under address and undefined-behaviour sanitizers."""

    def __init__(self, defines: Sequence[str] = ()) -> None:
        self.library = build(sanitize=True, defines=defines)
        self.process: subprocess.Popen[bytes] | None = None

    def call(self, function: Any, *arguments: Any) -> Any:
        """function(library, *arguments) there; AssertionError when a sanitizer stopped it."""
        self.process = self.process or sanitized_process(
            ["-m", "tests.support.training_kernels", str(self.library)]
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pickle.dump((function.__name__, arguments), self.process.stdin)
        self.process.stdin.flush()
        try:
            result = pickle.load(self.process.stdout)
        except EOFError:
            self.close()
            raise AssertionError("a sanitizer stopped the kernels (see stderr)") from None
        if isinstance(result, BaseException):
            raise result
        return result

    def close(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait(timeout=10)
        self.process = None


def sanitized_process(arguments: list[str]) -> subprocess.Popen[bytes]:
    """Python with the sanitizers' runtimes loaded first."""
    runtimes = [
        subprocess.run(
            ["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
    }
    return subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )


def _serve(library: Path) -> None:
    functions = {f.__name__: f for f in (train, single_op, single_loss, call_scalars)}
    while True:
        try:
            name, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            result: object = functions[name](library, *arguments)
        except Exception as error:  # reported to the test
            result = error
        pickle.dump(result, sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    import tests.support.training_kernels as module  # so that pickles name it, not __main__

    module._serve(Path(sys.argv[1]))
