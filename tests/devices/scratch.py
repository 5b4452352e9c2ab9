"""A hand-written model with the generated models' C interface, small enough to reason about.

Three dense layers; the last one learns. It stands in for generated code wherever a test is about
the link, a target or verification, and not about arithmetic.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware"
HIDDEN = 16
OPS = (
    ("dense_1", "FULLY_CONNECTED", "forward"),
    ("dense_2", "FULLY_CONNECTED", "forward"),
    ("head", "FULLY_CONNECTED", "forward"),
    ("loss", "LOSS", "loss"),
    ("head_gradient", "GRADIENT", "backward"),
    ("head_update", "SGD", "update"),
)


@dataclass(frozen=True)
class Scratch:
    """A generated directory and what its manifest says."""

    directory: Path
    name: str
    identity: str
    inputs: int
    outputs: int
    trains: bool

    @property
    def parameter_bytes(self) -> int:
        return self.outputs * (4 + HIDDEN)


def _array(kind: str, name: str, values: np.ndarray) -> str:
    numbers = ", ".join(str(int(v)) for v in values.ravel())
    return f"const {kind} scratch_{name}[{values.size}] = {{{numbers}}};\n"


def write_scratch(
    directory: Path,
    *,
    name: str = "scratch",
    inputs: int = 700,
    outputs: int = 10,
    trains: bool = True,
    learns: bool = True,
    seed: int = 1,
    scratch_bytes: int = 0,
    trained: int = 2,
) -> Scratch:
    """Writes tinykit_model.h and the model's C source into `directory`.

    `scratch_bytes` > 0 gives the link that much of the model's arena for saved parameters.
    """
    random = np.random.default_rng(seed)
    directory.mkdir(parents=True, exist_ok=True)
    identity = random.bytes(16)
    constants = '#include "scratch_constants.h"\n\n'
    for layer, rows, columns in (
        ("dense_1", HIDDEN, inputs),
        ("dense_2", HIDDEN, HIDDEN),
        ("head", outputs, HIDDEN),
    ):
        spread = 2**31 // int(74 * 74 * np.sqrt(columns) / 40)
        constants += _array(
            "int8_t", f"{layer}_weights", random.integers(-127, 128, rows * columns)
        )
        constants += _array("int32_t", f"{layer}_biases", random.integers(-3000, 3000, rows))
        constants += _array(
            "int32_t", f"{layer}_multipliers", random.integers(spread // 2, spread, rows)
        )
    (directory / "scratch_constants.c").write_text(constants)
    externs = "#include <stdint.h>\n"
    for layer in ("dense_1", "dense_2", "head"):
        externs += f"extern const int8_t scratch_{layer}_weights[];\n"
        externs += (
            f"extern const int32_t scratch_{layer}_biases[], scratch_{layer}_multipliers[];\n"
        )
    (directory / "scratch_constants.h").write_text(externs)
    (directory / "scratch.c").write_text((Path(__file__).parent / "scratch_model.c").read_text())
    bytes_ = ", ".join(f"0x{b:02x}" for b in identity)
    (directory / "tinykit_model.h").write_text(f"""\
#include <tinykit/tinykit.h>
#define TK_MODEL_NAME "{name}"
#define TK_MODEL_IDENTITY {{{bytes_}}}
#define TK_MODEL_TRAINS {int(trains)}
#define TK_MODEL_LEARNS {int(trains and learns)}
#define TK_MODEL_GUARDED {int(trains)}
#define TK_MODEL_INPUT_BYTES {inputs}
#define TK_MODEL_OUTPUT_BYTES {outputs}
#define TK_MODEL_PARAMETER_BYTES {outputs * (4 + HIDDEN)}
#define TK_MODEL_SAVE_BYTES {outputs * (4 + HIDDEN) + 16}
#define TK_MODEL_TARGET_BYTES 0
#define TK_MODEL_TRAINED {trained}
#define TK_MODEL_OP_COUNT {len(OPS)}
#define SCRATCH_HIDDEN {HIDDEN}
#if {scratch_bytes}
#define TK_MODEL_SCRATCH_BYTES {scratch_bytes}
uint8_t *tk_model_scratch(void);
#endif
void tk_model_init(void);
int8_t *tk_model_input(void);
const int8_t *tk_model_infer(void);
tk_step tk_model_train(const tk_target *t);
tk_step tk_model_learn(const tk_target *t);
void tk_model_apply(void);
const uint8_t *tk_model_parameters(void);
size_t tk_model_save(uint8_t *out, size_t n);
tk_status tk_model_load(const uint8_t *in, size_t n);
tk_change tk_model_change(uint32_t tensor);
uint32_t tk_model_rollbacks(void);
""")
    return Scratch(directory, name, identity.hex(), inputs, outputs, trains)


def runtime_sources() -> list[Path]:
    """The files of the C runtime that the link needs: checksum and trace."""
    wanted = re.compile(r"^(uint32_t tk_crc32|void tk_trace_point)\(", re.MULTILINE)
    folder = FIRMWARE / "lib" / "tinykit" / "src"
    return [path for path in sorted(folder.glob("*.c")) if wanted.search(path.read_text())]


def build_device(model: Scratch, *, trace: bool = True, payload: int = 512) -> Path:
    """The firmware of `model` as a program of this machine: serial port on stdin and stdout.

    Built with address and undefined-behaviour sanitizers; dies at the first thing they find.
    """
    program = model.directory / f"device-{int(trace)}-{payload}"
    sources = [
        *(FIRMWARE / "src" / f"{name}.c" for name in ("main", "link", "requests", "frame")),
        *(model.directory / f"{name}.c" for name in ("scratch", "scratch_constants")),
        Path(__file__).parent / "host_board.c",
        *runtime_sources(),
    ]
    subprocess.run(
        [
            *("gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror"),
            *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-ffp-contract=off"),
            *(f"-DTK_TRACE={int(trace)}", f"-DTK_LINK_PAYLOAD={payload}u"),
            *(f"-I{path}" for path in (model.directory, FIRMWARE / "src", Path(__file__).parent)),
            f"-I{FIRMWARE / 'lib' / 'tinykit' / 'include'}",
            f"-I{FIRMWARE / 'platform' / 'tinykit-cortexm' / 'support'}",
            *(str(source) for source in sources),
            *("-o", str(program)),
        ],
        check=True,
    )
    return program
