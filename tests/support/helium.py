"""Runs the C calls of many graphs on a Cortex-M55 with Helium, in one run of QEMU.

Unicorn has no Helium (cf. arm_kernels.py).  All graphs' tensors and descriptors are one memory
image; a small program carries out a list of calls and hands the memory back.  Every graph lies
there twice, with other bytes between the blocks.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from elftools.elf.elffile import ELFFile

from tests.support.kernels import CACHE, ROW_FORMS, RUNTIME
from tests.support.memory_image import MemoryImage
from tinykit.ir import Array, Graph
from tinykit.ops.base import Call, Struct
from tinykit.ops.registry import operator

LIST, LIST_BYTES = 0x21000000, 0x40000
DATA, SIZE = LIST + LIST_BYTES, 0x3C0000
STACK = 0x20010000
RUNNER = Path(__file__).with_name("helium_runner.c")
ARGUMENTS = 6
TOOLS = ("qemu-system-arm", "arm-none-eabi-gcc")
MISSING = next((tool for tool in TOOLS if shutil.which(tool) is None), None)


def build(optimize: str = "-O2") -> Path:
    """The runner with all kernels, once per content."""
    flags = ["-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard", optimize, "-std=c11"]
    flags += ["-ffp-contract=off", "-nostartfiles", "-Wl,--section-start=.vectors=0"]
    flags += ["-Wl,-Ttext=0x100", "-Wl,-e,start", f"-DLIST={LIST:#x}", f"-DSTACK={STACK:#x}"]
    digest = hashlib.sha256(" ".join(flags).encode())
    sources = [RUNNER, *sorted(RUNTIME.glob("src/*.[cS]"))]
    for path in (RUNNER, *sorted(RUNTIME.rglob("*.[chS]"))):
        digest.update(path.read_bytes())
    elf = CACHE / f"helium-{digest.hexdigest()[:16]}.elf"
    if not elf.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = elf.with_suffix(f".{os.getpid()}")
        command = ["arm-none-eabi-gcc", *flags, f"-I{RUNTIME / 'include'}", *map(str, sources)]
        subprocess.run([*command, "-o", str(partial)], check=True)
        partial.rename(elf)
    return elf


@dataclass(frozen=True)
class Placed:
    """A graph in the memory image, and what must come out."""

    name: str
    graph: Graph
    expected: Array
    outputs: tuple[int, int]  # addresses


class HeliumKernels:
    """Collects graphs, then runs them all."""

    def __init__(self) -> None:
        self.elf = build()
        with self.elf.open("rb") as file:
            symbols = ELFFile(file).get_section_by_name(".symtab").iter_symbols()
            self.functions = {s.name: s["st_value"] for s in symbols if s["st_value"]}
        self._start()

    def _start(self) -> None:
        self.placed: list[Placed] = []
        self.calls: list[tuple[int, ...]] = []
        self.image = MemoryImage(DATA, SIZE, 0)

    def check(
        self, graph: Graph, x: Array, expected: Array, name: str = "", rows: bool = False
    ) -> None:
        """Compares the output of a graph with `expected`: now, or in `finish`.

        rows: spatial kernels make one row at a time, from a ring of the fewest input rows.
        """
        if len(self.image.content) > SIZE // 2 or len(self.calls) > LIST_BYTES // 64:
            self.finish()
        places = []
        for filler in (0x00, 0xA5):
            self.image.filler = filler
            places.append(self._lay_out(graph, x, rows))
        self.placed.append(Placed(name, graph, expected, (places[0], places[1])))

    def _lay_out(self, graph: Graph, x: Array, rows: bool) -> int:
        places: dict[str, int] = {}
        for name, tensor in graph.tensors.items():
            if tensor.data is not None:
                places[name] = self.image.place(tensor.stored(tensor.data).tobytes())
        places[graph.inputs[0]] = self.image.place(x.tobytes())
        for op in graph.ops:
            rule = operator(op.kind)
            if rule.alias:
                places[op.outputs[0]] = places[op.inputs[0]]
                continue
            for name in op.outputs:
                places[name] = self.image.place(b"\x55" * graph[name].bytes, writable=True)
            for call in rule.lower(graph, op):
                arguments = self.image.arguments(call, places)
                if rows and call.function in ROW_FORMS:
                    self._call_by_rows(call, arguments)
                else:
                    self._call(self.functions[call.function], *arguments)
        return places[graph.outputs[0]]

    def _call(self, function: int, *arguments: int) -> None:
        padded = (*arguments, *[0] * (ARGUMENTS - len(arguments)))
        self.calls.append((function, *padded))

    def _call_by_rows(self, call: Call, arguments: list[int]) -> None:
        assert call.descriptor is not None
        window = call.descriptor.fields.get("window")
        if not isinstance(window, Struct):  # PAD
            self._call(self.functions[call.function], *arguments)
            return
        n = {name: int(v) for name, v in window.fields.items() if isinstance(v, int)}
        fields = call.descriptor.fields
        channels = fields.get("input_channels", fields.get("channels"))
        outputs = fields.get("output_channels", channels)
        assert isinstance(channels, int)
        assert isinstance(outputs, int)
        row, height = n["input_width"] * channels, n["input_height"]
        reach = (n["kernel_height"] - 1) * n["dilation_height"] + 1
        ring = min(reach, height)
        buffer = self.image.place(b"\x33" * (ring * row), writable=True)
        descriptor, x, y, *scratch = arguments
        loaded = 0
        for oy in range(n["output_height"]):
            while loaded < min(height, oy * n["stride_height"] - n["pad_top"] + reach):
                self._call(0, buffer + loaded % ring * row, x + loaded * row, row)
                loaded += 1
            to = y + oy * n["output_width"] * outputs
            function = self.functions[ROW_FORMS[call.function]]
            self._call(function, descriptor, buffer, ring, oy, to, *scratch)

    def finish(self) -> None:
        """Runs what was collected; AssertionError at the first difference."""
        placed, image = self.placed, self.image
        content = struct.pack("<III", len(self.calls), DATA, len(image.content))
        content += b"".join(struct.pack(f"<{1 + ARGUMENTS}I", *call) for call in self.calls)
        assert len(content) <= LIST_BYTES
        after = self._run(content.ljust(LIST_BYTES, b"\0") + bytes(image.content))
        self._start()
        for one in placed:
            tensor = one.graph[one.graph.outputs[0]]
            for address in one.outputs:
                data = after[address - DATA : address - DATA + tensor.bytes]
                found = np.frombuffer(data, np.dtype(tensor.dtype)).reshape(tensor.shape)
                np.testing.assert_array_equal(found, one.expected, f"{one.name}\n{one.graph.ops}")
        image.take_over(after, "a kernel")

    def _run(self, content: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "before").write_bytes(content)
            loader = f"loader,file=before,addr={LIST:#x},force-raw=on"
            command = ["qemu-system-arm", "-M", "mps3-an547", "-display", "none"]
            command += ["-serial", "none", "-monitor", "none", "-semihosting"]
            command += ["-kernel", str(self.elf), "-device", loader]
            result = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
            )
            after = Path(folder) / "after"
            assert after.exists(), f"the kernels did not come back: {result.stderr[:1000]}"
            return after.read_bytes()
