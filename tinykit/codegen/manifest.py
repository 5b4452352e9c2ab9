"""model.json: what was generated, for the host side of the link and for the memory report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from tinykit.errors import UsageError
from tinykit.ir import Array
from tinykit.ops.gradient_arithmetic import FRACTION, WIDE_FRACTION
from tinykit.ops.target import TargetForm

FORMAT = 2
Readable = bytes  # in Port, `bytes` is a field

Role = Literal[
    "weights", "bias", "residual", "bias_residual", "momentum", "bias_momentum", "deviation",
    "bias_deviation", "centre", "samples",
]  # fmt: skip


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Port(_Value):
    """An input or output; `bytes` of `dtype`, real = scale * (value - zero_point).

    offset: of one of several, in bytes, in the block that holds them.
    scales, zero_points: of each place of the last axis, where they differ; else empty.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int
    bytes: int
    offset: int = 0
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()

    def codes(self, block: Readable) -> Array:
        """Its codes, flat, out of the block that holds them."""
        dtype = np.dtype(self.dtype)
        return np.frombuffer(block, dtype, self.bytes // dtype.itemsize, self.offset)

    def real(self, codes: Array) -> npt.NDArray[np.float32]:
        """Values of the port's shape in real units, float32."""
        values = codes.reshape(self.shape).astype(np.float32)
        zero_points = np.asarray(self.zero_points or self.zero_point, np.float32)
        return (values - zero_points) * np.asarray(self.scales or self.scale, np.float32)


class TargetPort(_Value):
    """What the loss takes: see tinykit.ops.target.TargetForm."""

    loss: str
    classes: int
    values: int
    scale: float
    zero_point: int
    first_classes: int = 0

    @property
    def form(self) -> TargetForm:
        """The same, with what can be done with it."""
        return TargetForm(**self.model_dump())


class Parameter(_Value):
    """A trained tensor inside the block of parameters; offset in bytes."""

    name: str
    role: Role
    dtype: str
    shape: tuple[int, ...]
    offset: int
    bytes: int
    layer: str

    @property
    def size(self) -> int:
        """Weights or biases (or what is kept of each)."""
        return math.prod(self.shape)


class ManifestOp(_Value):
    """An op in execution order; index counts from 0 within its function (infer or train)."""

    index: int
    name: str
    kind: str
    phase: str
    layer: str


class StreamedSegment(_Value):
    """Ops of train() (else infer()) that run row by row; rings: rows in memory, by tensor.

    bytes: of the rings.
    """

    function: Literal["infer", "train"]
    first: str
    last: str
    ops: int
    rings: dict[str, int]
    bytes: int


class Keeps(_Value):
    """What is kept of the last sample, and of how many past ones that are trained on again.

    bytes: of one sample; block_bytes: of all of it, in SRAM.
    """

    what: Literal["nothing", "features", "input"]
    bytes: int
    samples: int
    per_step: int
    block_bytes: int


class Guards(_Value):
    """The guard against divergence: steps of a window, how many snapshots of so many bytes.

    block_bytes: of all of it, in SRAM.
    """

    window: int
    snapshots: int
    bytes: int
    block_bytes: int


class Frontend(_Value):
    """What fills the input from raw int16 samples: rows of features, a new input every `hop` rows.

    sample_rate: in Hz, of sound; 0 for motion. axes: values of a reading.
    """

    kind: Literal["audio", "motion"]
    sample_rate: int
    axes: int
    rows: int
    features: int
    hop: int


class Memory(_Value):
    """Exact bytes by item; the ELF must agree."""

    sram: dict[str, int]
    flash: dict[str, int]


class Manifest(_Value):
    """Everything that the host knows of generated code."""

    format: int
    tinykit: str
    name: str
    identity: str
    input: Port
    output: Port
    inputs: tuple[Port, ...]  # the model's own, where they lie in `input`; one is `input` itself
    outputs: tuple[Port, ...]
    trains: bool
    classes: int | None
    class_names: tuple[str, ...] = ()  # by number, where the data names them
    target: TargetPort | None = None  # where it trains
    threshold: float = 0.0  # of a single output, in real units: yes above it, no below
    parameters: tuple[Parameter, ...]
    parameter_bytes: int
    state_bytes: int = 0  # of the variables that stay from one inference to the next
    save_bytes: int
    ops: tuple[ManifestOp, ...]  # of train() where there is one, else of infer()
    infer_ops: tuple[ManifestOp, ...]
    memory: Memory
    arena_bound: int  # liveness bound in bytes
    arena_proof: str = ""  # whether the arena reaches the bound, or cannot
    input_offset: int = 0  # of the input in the arena
    input_rows: bool = False  # the input arrives row by row
    segments: tuple[StreamedSegment, ...] = ()
    frontend: Frontend | None = None
    symbols: dict[str, str]
    kernels: tuple[str, ...]
    calls: int  # runtime calls in the generated code
    keeps: Keeps | None = None
    guard: Guards | None = None
    macs: dict[str, int]  # "infer", "train"

    @property
    def trained(self) -> tuple[Parameter, ...]:
        """What learns, as the device numbers it: biases, then weights."""
        return tuple(p for p in self.parameters if p.role in ("bias", "weights"))

    def units(self, trained: Parameter) -> int:
        """Units of a trained tensor's master in one integer step of the plane in use."""
        residual = next((p for p in self.parameters if p.name == f"{trained.name}/residual"), None)
        if residual is None:
            return 1
        wide = trained.role == "weights" and residual.dtype == "int32"
        return WIDE_FRACTION if wide else FRACTION

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read model.json (or the folder that holds it); UsageError when it is not one."""
        path = path / "model.json" if path.is_dir() else path
        try:
            data = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: {error}", "run `tinykit generate` first") from error
        if data.get("format") != FORMAT:
            raise UsageError(f"{path}: manifest format {data.get('format')}, expected {FORMAT}")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UsageError(f"{path}: {where}: {first['msg']}") from error

    def save(self, folder: Path) -> None:
        (folder / "model.json").write_text(self.model_dump_json(indent=1) + "\n")
