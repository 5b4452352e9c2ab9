"""Single training ops on emulated Cortex-M cores (see arm_kernels.py)."""

from __future__ import annotations

import struct

import numpy as np
import unicorn
from unicorn import arm_const

from tests.support.arm_kernels import DATA, RETURN, SIZE, STACK, STACK_BYTES, ArmKernels
from tests.support.memory_image import MemoryImage
from tests.support.training_kernels import TRAINER, trainer_fields
from tinykit.ir import Array, Graph, Op
from tinykit.ops.evaluate import Step
from tinykit.ops.registry import operator

REGISTERS = (arm_const.UC_ARM_REG_R0, arm_const.UC_ARM_REG_R1, arm_const.UC_ARM_REG_R2,
             arm_const.UC_ARM_REG_R3)  # fmt: skip


class ArmTraining(ArmKernels):
    """Calls gradient and update functions; memory outside their data must not change."""

    def op_result(
        self, graph: Graph, op: Op, values: dict[str, Array], step: Step
    ) -> tuple[list[Array], int]:
        """Outputs and updated parameters of one op, and the values that saturated; the same where
        the output lies on an input, if it may."""
        first, second = (self._op(graph, op, values, step, filler) for filler in (0x00, 0xA5))
        assert first == second, f"{op.kind} reads outside its data"
        over = operator(op.kind).overwrites(graph, op)
        if over is not None:
            assert self._op(graph, op, values, step, 0, over) == first, f"{op.kind} in place"
        names = (*op.outputs, *op.updates)
        results = [
            graph[name].restored(np.frombuffer(data, np.dtype(graph[name].dtype)))
            for name, data in zip(names, first[0], strict=True)
        ]
        return results, first[1]

    def _op(
        self,
        graph: Graph,
        op: Op,
        values: dict[str, Array],
        step: Step,
        filler: int,
        over: int | None = None,
    ) -> tuple[list[bytes], int]:
        self.image = image = MemoryImage(DATA, SIZE, filler)
        overwritten = None if over is None else op.inputs[over]
        places = {
            name: image.place(
                graph[name].stored(value).tobytes(),
                writable=name in op.updates or name == overwritten,
            )
            for name, value in values.items()
        }
        for name in op.outputs:
            places[name] = (
                image.place(b"\x55" * graph[name].bytes, writable=True)
                if overwritten is None
                else places[overwritten]
            )
        trainer = bytes(TRAINER(**trainer_fields(step)))
        places["$trainer"] = image.place(trainer, writable=True)
        for call in operator(op.kind).lower(graph, op):
            self._execute(call.function, image.arguments(call, places))
        read = self.machine.mem_read
        after = TRAINER.from_buffer_copy(read(places["$trainer"], len(trainer)))
        saturations = getattr(after, "saturations")  # noqa: B009 - ctypes tells mypy nothing
        names = (*op.outputs, *op.updates)
        return [bytes(read(places[name], graph[name].bytes)) for name in names], saturations

    def _execute(self, function: str, arguments: list[int]) -> None:
        machine = self.machine
        machine.context_restore(self.fresh)
        machine.mem_write(DATA, bytes(self.image.content))
        for register, value in zip(REGISTERS, arguments, strict=False):
            machine.reg_write(register, value)
        more = arguments[len(REGISTERS) :]
        top = STACK + STACK_BYTES
        machine.mem_write(top, struct.pack(f"<{len(more)}I", *more))
        machine.reg_write(arm_const.UC_ARM_REG_SP, top)
        machine.reg_write(arm_const.UC_ARM_REG_LR, RETURN | 1)
        try:
            machine.emu_start(self.functions[function] | 1, RETURN)
        except unicorn.UcError as error:
            place = machine.reg_read(arm_const.UC_ARM_REG_PC)
            raise AssertionError(f"{function} at {place:#x}: {error}") from None
        after = machine.mem_read(DATA, len(self.image.content))
        self.image.take_over(bytes(after), function)
