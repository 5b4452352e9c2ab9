"""Runs a graph's C calls on an emulated Cortex-M core, one by one, straight from `Operator.lower`.

The runtime is linked to fixed addresses without start-up code; Unicorn calls its functions as a
program would.  A kernel that writes outside its blocks of data is found by comparing memory, and
one that reads there by running twice with other bytes between them.  (Unicorn's memory hooks would
say more, but with them Unicorn 2.1 loses the flags inside IT blocks.)
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
import unicorn
from elftools.elf.elffile import ELFFile
from unicorn import arm_const

from tests.support.kernels import CACHE, RUNTIME
from tests.support.memory_image import MemoryImage
from tinykit.ir import Array, Graph
from tinykit.ops.base import Call
from tinykit.ops.registry import operator

CODE, DATA, STACK = 0x10000, 0x20000000, 0x30000000
SIZE = 0x800000
STACK_BYTES = 0x4000
RETURN = 0x8000
MODELS = {
    "cortex-m0": arm_const.UC_CPU_ARM_CORTEX_M0,
    "cortex-m3": arm_const.UC_CPU_ARM_CORTEX_M3,
    "cortex-m4": arm_const.UC_CPU_ARM_CORTEX_M4,
    "cortex-m7": arm_const.UC_CPU_ARM_CORTEX_M7,
    "cortex-m33": arm_const.UC_CPU_ARM_CORTEX_M33,
}


def build(core: str, optimize: str = "-O2") -> Path:
    """The runtime linked for a core, once per content."""
    flags = [f"-mcpu={core}", "-mthumb", "-mfloat-abi=soft", optimize, "-std=c11"]
    flags += ["-ffp-contract=off", "-nostartfiles", f"-Wl,-Ttext={CODE:#x}", "-Wl,-e,tk_conv2d_s8"]
    digest = hashlib.sha256(" ".join(flags).encode())
    for path in sorted(RUNTIME.rglob("*.[chS]")):
        digest.update(path.read_bytes())
    elf = CACHE / f"{core}-{digest.hexdigest()[:16]}.elf"
    if not elf.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = elf.with_suffix(f".{os.getpid()}")
        sources = map(str, sorted(RUNTIME.glob("src/*.[cS]")))
        command = ["arm-none-eabi-gcc", *flags, f"-I{RUNTIME / 'include'}", *sources]
        subprocess.run([*command, "-o", str(partial)], check=True)
        partial.rename(elf)
    return elf


class ArmKernels:
    """As `tests.support.kernels.Kernels`, on an emulated core."""

    def __init__(self, core: str, optimize: str = "-O2") -> None:
        self.machine = unicorn.Uc(
            unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
        )
        self.machine.ctl_set_cpu_model(MODELS[core])
        for base in (0, DATA, STACK):
            self.machine.mem_map(base, SIZE)
        with build(core, optimize).open("rb") as file:
            elf = ELFFile(file)
            for segment in elf.iter_segments():
                if segment["p_type"] == "PT_LOAD":
                    self.machine.mem_write(segment["p_vaddr"], segment.data())
            symbols = elf.get_section_by_name(".symtab").iter_symbols()
            self.functions = {s.name: s["st_value"] for s in symbols if s["st_value"]}
        self.fresh = self.machine.context_save()
        self.image = MemoryImage(DATA, SIZE, 0)

    def run(self, graph: Graph, x: Array) -> Array:
        """The output of an inference on input `x`."""
        first, second = (self._run(graph, x, filler) for filler in (0x00, 0xA5))
        np.testing.assert_array_equal(first, second, "a kernel reads outside its data")
        return first

    def _run(self, graph: Graph, x: Array, filler: int) -> Array:
        self.image = image = MemoryImage(DATA, SIZE, filler)
        places: dict[str, int] = {}
        for name, tensor in graph.tensors.items():
            if tensor.data is not None:
                places[name] = image.place(tensor.stored(tensor.data).tobytes())
        places[graph.inputs[0]] = image.place(x.tobytes())
        for op in graph.ops:
            rule = operator(op.kind)
            if rule.alias:
                places[op.outputs[0]] = places[op.inputs[0]]
                continue
            for name in op.outputs:
                places[name] = image.place(b"\x55" * graph[name].bytes, writable=True)
            for call in rule.lower(graph, op):
                self._call(call, places)
        output = graph[graph.outputs[0]]
        data = bytes(self.machine.mem_read(places[output.name], output.bytes))
        return np.frombuffer(data, np.dtype(output.dtype)).reshape(output.shape)

    def _call(self, call: Call, places: dict[str, int]) -> None:
        arguments = self.image.arguments(call, places)
        self.machine.context_restore(self.fresh)
        self.machine.mem_write(DATA, bytes(self.image.content))
        registers = (arm_const.UC_ARM_REG_R0, arm_const.UC_ARM_REG_R1, arm_const.UC_ARM_REG_R2,
                     arm_const.UC_ARM_REG_R3)  # fmt: skip
        assert len(arguments) <= len(registers)
        for register, value in zip(registers, arguments, strict=False):
            self.machine.reg_write(register, value)
        self.machine.reg_write(arm_const.UC_ARM_REG_SP, STACK + STACK_BYTES)
        self.machine.reg_write(arm_const.UC_ARM_REG_LR, RETURN | 1)
        try:
            self.machine.emu_start(self.functions[call.function] | 1, RETURN)
        except unicorn.UcError as error:
            pc = self.machine.reg_read(arm_const.UC_ARM_REG_PC)
            raise AssertionError(f"{call.function} at {pc:#x}: {error}") from None
        after = self.machine.mem_read(DATA, len(self.image.content))
        self.image.take_over(bytes(after), call.function)
