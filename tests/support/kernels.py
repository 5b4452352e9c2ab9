"""Runs a graph's C calls on the host, one by one, straight from `Operator.lower`.

One shared library holds all kernels, so that a test can run thousands of random models without
compiling any.  Every tensor is a heap block of exactly its size: in the sanitized worker
(`SanitizedKernels`) a byte read or written outside is an error.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinykit.codegen.cstruct import struct_types
from tinykit.ir import Array, Graph
from tinykit.ops.base import Address, Call, Struct, Table
from tinykit.ops.registry import operator
from tinykit.resources import resource_path

RUNTIME = resource_path("firmware") / "lib" / "tinykit"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kernels"
FLAGS = ["-std=c11", "-O1", "-g", "-fPIC", "-shared", "-ffp-contract=off"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
VARIANTS = (
    "TK_DSP_EMULATED=1",
    "TK_PACKED_EMULATED=1",
)  # code for cores that this machine does not have
ROW_FORMS = {
    f"tk_{name}_s8": f"tk_{name}_row_s8"
    for name in (
        "conv2d",
        "depthwise_conv2d",
        "depthwise_conv2d_3x3",
        "average_pool2d",
        "max_pool2d",
        "pad",
    )
} | {
    f"tk_{name}_s16": f"tk_{name}_row_s16"
    for name in ("conv2d", "depthwise_conv2d", "average_pool2d", "max_pool2d")
}
CTYPES: dict[str, Any] = {
    "int8_t": ctypes.c_int8,
    "uint8_t": ctypes.c_uint8,
    "int16_t": ctypes.c_int16,
    "uint16_t": ctypes.c_uint16,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "float": ctypes.c_float,
}


def build(sanitize: bool, defines: Sequence[str] = ()) -> Path:
    """The runtime as a shared library, compiled once per content."""
    sources = sorted(RUNTIME.glob("src/*.c"))
    flags = FLAGS + (SANITIZE if sanitize else []) + [f"-D{define}" for define in defines]
    digest = hashlib.sha256(" ".join(flags).encode())
    for path in sorted(RUNTIME.rglob("*.[ch]")):
        digest.update(path.read_bytes())
    library = CACHE / f"{digest.hexdigest()[:16]}.so"
    if not library.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = library.with_suffix(f".{os.getpid()}")
        command = ["gcc", *flags, f"-I{RUNTIME / 'include'}", "-o", str(partial), *sources]
        subprocess.run(list(map(str, command)), check=True)
        partial.rename(library)
    return library


class Kernels:
    """Executes graphs op by op with the C kernels."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))

    def run(self, graph: Graph, x: Array, rows: bool = False) -> Array:
        """The output of an inference on input `x`.

        rows: spatial kernels make one row at a time, from a ring of the fewest input rows.
        """
        values: dict[str, Array] = {
            name: t.stored(t.data).copy() for name, t in graph.tensors.items() if t.data is not None
        }
        values[graph.inputs[0]] = x.reshape(graph[graph.inputs[0]].shape).copy()
        for op in graph.ops:
            rule = operator(op.kind)
            if rule.alias:
                values[op.outputs[0]] = values[op.inputs[0]].reshape(graph[op.outputs[0]].shape)
                continue
            for name in op.outputs:
                values[name] = np.full(graph[name].shape, 0x55, np.dtype(graph[name].dtype))
            for call in rule.lower(graph, op):
                if rows and call.function in ROW_FORMS:
                    self._call_by_rows(call, values)
                else:
                    self._call(call, values)
        return values[graph.outputs[0]]

    def _call_by_rows(self, call: Call, values: dict[str, Array]) -> None:
        assert call.descriptor is not None
        fields = call.descriptor.fields
        window = fields.get("window")
        n = {
            k: int(v) for k, v in (window.fields if isinstance(window, Struct) else fields).items()
        }
        height = n.get("input_height", n.get("height", 0))
        x = values[call.arguments[0]].reshape(height, -1)
        if isinstance(window, Struct):
            reach = (n["kernel_height"] - 1) * n["dilation_height"] + 1
            rows, stride, pad = n["output_height"], n["stride_height"], n["pad_top"]
        else:  # PAD
            reach, rows, stride, pad = 1, n["top"] + height + n["bottom"], 1, n["top"]
        y = values[call.arguments[1]].reshape(rows, -1)
        ring = np.full((min(reach, height), x.shape[1]), 0x33, x.dtype)
        function = getattr(self.library, ROW_FORMS[call.function])
        kept: list[Any] = []
        descriptor = _struct(call.descriptor, values, kept)
        scratch = np.zeros(call.scratch, np.int8)
        loaded = 0
        for oy, out in enumerate(y):
            while loaded < min(height, oy * stride - pad + reach):
                ring[loaded % len(ring)] = x[loaded]
                loaded += 1
            row = np.full(out.shape, 0x55, out.dtype)
            pointers = [ctypes.c_void_p(array.ctypes.data) for array in (ring, row, scratch)]
            function(
                ctypes.byref(descriptor), pointers[0], len(ring), oy, pointers[1],
                *([pointers[2]] if call.scratch else []),
            )  # fmt: skip
            out[:] = row

    def _call(self, call: Call, values: dict[str, Array]) -> None:
        kept: list[Any] = []
        arguments: list[Any] = []
        if call.descriptor is not None:
            arguments.append(ctypes.byref(_struct(call.descriptor, values, kept)))
        for name in call.arguments:
            buffer = np.zeros(call.scratch, np.int8) if name == "$scratch" else values[name]
            kept.append(buffer)
            arguments.append(ctypes.c_void_p(buffer.ctypes.data))
        getattr(self.library, call.function)(*arguments)


def _struct(struct: Struct, values: dict[str, Array], kept: list[Any]) -> ctypes.Structure:
    members = struct_types()[struct.ctype].members
    assert {m.name for m in members} == set(struct.fields), struct.ctype
    fields = [(m.name, ctypes.c_void_p if m.pointer else CTYPES[m.ctype]) for m in members]
    instance = type(struct.ctype, (ctypes.Structure,), {"_fields_": fields})()
    for member in members:
        value = struct.fields[member.name]
        if isinstance(value, Struct):
            inner = _struct(value, values, kept)
            kept.append(inner)
            value = ctypes.addressof(inner)
        elif isinstance(value, Table):
            array = np.ascontiguousarray(value.values)
            assert ctypes.sizeof(CTYPES[value.ctype]) == array.itemsize
            kept.append(array)
            value = array.ctypes.data
        elif isinstance(value, Address):
            value = values[value.tensor].ctypes.data
        setattr(instance, member.name, value)
        if isinstance(value, int) and not member.pointer:
            assert getattr(instance, member.name) == value, f"{struct.ctype}.{member.name}"
    kept.append(instance)
    return instance


class SanitizedKernels:
    """The portable kernels and the DSP ones (with emulated instructions), sanitized.

    Results are those of the portable kernels, to which the others are held.
    """

    def __init__(self) -> None:
        self.portable = SanitizedWorker(build(sanitize=True))
        self.others = [SanitizedWorker(build(True, [define])) for define in VARIANTS]

    def run(self, graph: Graph, x: Array, rows: bool = False) -> Array:
        """As `Kernels.run`; AssertionError when a sanitizer stopped a worker."""
        result = self.portable.run(graph, x, rows)
        for worker, define in zip(self.others, VARIANTS, strict=True):
            np.testing.assert_array_equal(worker.run(graph, x, rows), result, define)
        return result

    def close(self) -> None:
        for worker in (self.portable, *self.others):
            worker.close()


class SanitizedWorker:
    """Kernels in a process of its own, under address and undefined-behaviour sanitizers."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, graph: Graph, x: Array, rows: bool = False) -> Array:
        """As `Kernels.run`; AssertionError when a sanitizer stopped the worker."""
        self.process = self.process or self._start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pickle.dump((graph, x, rows), self.process.stdin)
        self.process.stdin.flush()
        try:
            result = pickle.load(self.process.stdout)
        except EOFError:
            self.close()
            raise AssertionError("a sanitizer stopped the kernels (see stderr)") from None
        if isinstance(result, BaseException):
            raise result
        assert isinstance(result, np.ndarray)
        return result

    def _start(self) -> subprocess.Popen[bytes]:
        runtimes = [
            subprocess.run(
                ["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True
            ).stdout.strip()
            for name in ("libasan.so", "libubsan.so")
        ]
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        environment = os.environ | {
            "LD_PRELOAD": " ".join(runtimes),
            "ASAN_OPTIONS": "detect_leaks=0",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": path,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.kernels", str(self.library)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip

    def close(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait(timeout=10)
        self.process = None


def _serve(library: str) -> None:
    kernels = Kernels(Path(library))
    while True:
        try:
            graph, x, rows = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            result: object = kernels.run(graph, x, rows)
        except Exception as error:  # reported to the test
            result = error
        pickle.dump(result, sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
