"""`tinykit.toml`: one file that names a project's model, data, plan, board and target.

Every CLI verb reads it; command-line flags override it. Paths in it are relative to the file.
Anything wrong with it is a `UsageError` that names the file, the line, the key, and the way out.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from tinykit.errors import UsageError
from tinykit.units import parse_bytes

if TYPE_CHECKING:
    from tinykit.frontend import AudioFrontend

CONFIG_NAME = "tinykit.toml"
Split = Literal["train", "test", "calibration"]
SPLITS: tuple[Split, ...] = get_args(Split)


def _size(value: object) -> object:
    """256KB in quotes is as good as 262144."""
    if not isinstance(value, str):
        return value
    try:
        return parse_bytes(value)
    except UsageError as error:
        raise ValueError(error.message) from None


def _names(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Size = Annotated[int, Field(gt=0), BeforeValidator(_size)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ProjectSection(_Section):
    """[project]: what the project is called; generated C is prefixed with this name. Without it
    the model's file name is used."""

    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]{0,31}$")


class HeadSection(_Section):
    """[model] head: a fresh last layer, for other classes than the network was made for.

    classes: how many (1: yes or no). grow_to: how many there may be in the end; labels from
    `classes` on become classes on the device when they first come. names: of the classes, in
    order; else the data's, if its labels are names. seed: of the initial weights.
    """

    classes: int = Field(ge=1)
    grow_to: int | None = Field(default=None, ge=2)
    names: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    seed: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _larger(self) -> HeadSection:
        if self.grow_to is not None and not 2 <= self.classes <= self.grow_to:
            raise ValueError("head grows from 2 or more classes to grow_to")
        if self.names and len(self.names) != (self.grow_to or max(self.classes, 2)):
            raise ValueError(f"head has {self.outputs} outputs, but {len(self.names)} names")
        return self

    @property
    def outputs(self) -> int:
        """How many there are room for."""
        return self.grow_to or self.classes


class LearntSection(_Section):
    """[model] learnt: what firmware of this project has learnt, to go on from with another plan.

    plan: the one that it was built with; saved: the file that `tinykit train --save` wrote.
    """

    plan: str
    saved: str


class ModelSection(_Section):
    """[model]: the network, a full int8 .tflite or .onnx (or, to infer only, an int16x8 .tflite).
    `tinykit quantize` makes one of a float model of Keras or ONNX.
    With input_rows the C takes its input row by row, from a camera for instance.
    head = {classes = N} replaces the last layer by a fresh one for the classes of [data]; further
    keys: grow_to, names, seed. output, a name or a number from 0: of a model with several outputs
    this one alone, as `eval` and learning want it.
    learnt = [{plan = "plan.toml", saved = "learnt.bin"}] makes the weights and biases that were
    learnt the model's own; further stages follow in the list."""

    path: str | None = None
    input_rows: bool = False
    head: HeadSection | None = None
    output: str | int | None = None
    learnt: Annotated[tuple[LearntSection, ...], BeforeValidator(_names)] = ()


class FrontendSection(_Section):
    """[frontend]: what makes the model's input of raw samples, on the device.

    kind: "audio", or "motion" (accelerometers and other slow sensors); what the other keys are says
    docs/frontends.md. The C then has `NAME_push`, and x of [data] may be int16: recordings.
    """

    kind: Literal["audio", "motion"] | None = None
    input_hop: int | None = Field(default=None, ge=1)
    mean: Annotated[tuple[float, ...], BeforeValidator(_names)] = ()
    deviation: Annotated[tuple[float, ...], BeforeValidator(_names)] = ()
    feature_scale: float | None = Field(default=None, gt=0)
    multiplier: int | None = None
    divisor: int | None = None
    preprocessor: str | None = None
    sample_rate: int = 16000
    window_ms: float = 30.0
    hop_ms: float = 10.0
    channels: int = 40
    lower_hz: float = 125.0
    upper_hz: float = 7500.0
    smoothing_bits: int = 10
    even_smoothing: float = 0.025
    odd_smoothing: float = 0.06
    min_signal: float = 0.05
    clamping: bool = False
    pcan: bool = True
    pcan_strength: float = 0.95
    pcan_offset: float = 80.0
    pcan_gain_bits: int = 21
    log_scale: int = 64
    mfcc: int = 0
    mfcc_ortho: bool = False

    @model_validator(mode="after")
    def _of_its_kind(self) -> FrontendSection:
        motion = {"mean", "deviation"}
        own = {
            None: set[str](),
            "motion": {"kind", "input_hop"} | motion,
            "audio": set(FrontendSection.model_fields) - motion,
        }[self.kind]
        strange = sorted(self.model_fields_set - own)
        if strange and self.kind is None:
            raise ValueError('kind is missing: "audio" or "motion"')
        if strange:
            raise ValueError(f"{self.kind} has no {strange[0]}")
        if self.kind == "motion" and not (self.mean and self.deviation):
            raise ValueError("motion needs mean and deviation, a number for each axis")
        if (self.multiplier is None) != (self.divisor is None):
            raise ValueError("multiplier and divisor go together")
        if self.multiplier is not None and self.feature_scale is not None:
            raise ValueError("feature_scale stands in place of multiplier and divisor")
        if self.preprocessor is not None:
            beside = {"kind", "preprocessor", "sample_rate", "hop_ms", "input_hop", "feature_scale"}
            said = sorted(self.model_fields_set - beside - {"mfcc", "mfcc_ortho"})
            if said:
                raise ValueError(f"{said[0]} is what the preprocessor says; leave it out")
        elif self.kind == "audio":
            try:
                self.audio()
            except UsageError as error:
                raise ValueError(error.message.removeprefix("frontend: ")) from None
        return self

    def audio(self) -> AudioFrontend:
        """The frontend of sound; its multiplier and divisor, where feature_scale is to say them,
        are still its own. UsageError names a key out of its range."""
        from tinykit.frontend import AudioFrontend

        given = {key: getattr(self, key) for key in self.model_fields_set}
        known = AudioFrontend.__dataclass_fields__
        return AudioFrontend(**{key: value for key, value in given.items() if key in known})


class DataSection(_Section):
    """[data]: samples and labels: class numbers, class names, or a row of values for the outputs.

    Either `loader`, "file.py:function", called with the split's name and returning (x, y), or one
    file per split (.npz with arrays x and y, .npy with x only, .csv with the label last). Names are
    numbered in alphabetical order when the C is generated, and kept in the manifest.
    """

    loader: str | None = Field(default=None, pattern=r"^[^:]+\.py:[A-Za-z_][A-Za-z0-9_]*$")
    train: str | None = None
    test: str | None = None
    calibration: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        if self.loader and (self.train or self.test or self.calibration):
            raise ValueError("give either loader or files (train, test, calibration), not both")
        return self

    def names(self, split: Split) -> bool:
        """Whether there are samples for this split; calibration falls back to train."""
        own = getattr(self, split)
        return bool(self.loader or own or (split == "calibration" and self.train))


class PlanSection(_Section):
    """[plan]: the update plan's TOML file. Without it the firmware only infers."""

    path: str | None = None


class BoardSection(_Section):
    """[board]: a name from `tinykit boards` (or a manifest's path, .json), and tighter budgets
    than it states, in bytes or as "256KB"."""

    name: str = "mps2_an386"
    sram: Size | None = None
    flash: Size | None = None


class TargetSection(_Section):
    """[target]: where firmware runs, and for a real board its serial port. Without a name: the
    port if there is one, else QEMU where it is installed and knows the board, else Unicorn."""

    name: Literal["unicorn", "qemu", "renode", "serial"] | None = None
    port: str | None = None


class BuildSection(_Section):
    """[build]: `trace` compiles in the per-layer checksums that `tinykit verify` uses."""

    trace: bool = True
    directory: str = "build"


class Config(_Section):
    """A whole tinykit.toml."""

    project: ProjectSection = ProjectSection()
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    frontend: FrontendSection = FrontendSection()
    plan: PlanSection = PlanSection()
    board: BoardSection = BoardSection()
    target: TargetSection = TargetSection()
    build: BuildSection = BuildSection()


def load_config(path: Path) -> Config:
    """The validated contents of `path`. Raises UsageError naming file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such file", "run in a project's folder, or `tinykit new DIR` to make one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    return parse_config(text, str(path))


def parse_config(text: str, source: str = CONFIG_NAME) -> Config:
    """The validated contents of `text`; `source` names it in errors."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(*_syntax_error(str(error), text, source)) from None
    try:
        return Config.model_validate(table)
    except ValidationError as error:
        raise UsageError(*_first_error(error, text, source)) from None


def _syntax_error(message: str, text: str, source: str) -> tuple[str, str]:
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    line = int(found.group(1)) if found else len(text.splitlines())
    plain = re.sub(r"\s*\(at .*\)$", "", message)
    return f"{source}:{line}: not valid TOML: {plain}", 'strings need quotes: key = "value"'


def _first_error(error: ValidationError, text: str, source: str) -> tuple[str, str]:
    """Message and hint for the first mistake; the others come up once it is mended."""
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    where = f"{source}:{_line_of(text, location)}"
    if first["type"] == "extra_forbidden":
        return _unknown_key(where, location)
    name = f"[{location[0]}] {'.'.join(location[1:])}" if len(location) > 1 else f"[{location[0]}]"
    if first["type"] == "model_type":
        return f"{where}: {name}: must be a table", _expected(location)
    reason = first["msg"].removeprefix("Value error, ")
    value = first["input"]
    shown = isinstance(value, str | int | float | bool) and first["type"] != "value_error"
    given = f", not {value!r}" if shown else ""
    return f"{where}: {name}: {reason[0].lower()}{reason[1:]}{given}", _expected(location)


def _unknown_key(where: str, location: list[str]) -> tuple[str, str]:
    *section, key = location
    known = _keys(section)
    kind, place = ("key", f"[{section[0]}]") if section else ("section", "tinykit.toml")
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    listed = f"{place} knows {', '.join(known)}"
    hint = f"did you mean `{near[0]}`? {listed}" if near else listed
    return f"{where}: {place} has no {kind} `{key}`", hint


def _keys(section: list[str]) -> list[str]:
    model: Any = Config
    for name in (name for name in section if not name.isdigit()):  # numbers: places in a list
        annotation = model.model_fields[name].annotation
        model = next((a for a in get_args(annotation) if a is not type(None)), annotation)
    return list(model.model_fields)


def _expected(location: list[str]) -> str:
    """The docstring of the section that holds the mistake, on one line."""
    field = Config.model_fields.get(location[0])
    doc = (field.annotation.__doc__ or "") if field and field.annotation else ""
    return " ".join(doc.split())


def _line_of(text: str, location: list[str]) -> int:
    """The line of the key (or of the section's header when the key isn't written out), from 1."""
    section, header = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r"\s*\[\s*\"?([\w.-]+)\"?\s*\]", line)
        if found:
            section = found.group(1)
            if section == location[0]:
                header = number
        key = re.match(r"\s*\"?([\w.-]+)\"?\s*=", line)
        if key and [*([section] if section else []), *key.group(1).split(".")] == location[:2]:
            return number
    return header
