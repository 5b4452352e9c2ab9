"""A project's samples: from a loader function or from files, quantized as the model's input is.

int16 samples are recordings, which the project's frontend makes inputs of.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import sys
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinykit.config import DataSection, Split
from tinykit.errors import TinykitError, UsageError
from tinykit.ir import Array, Graph, Tensor
from tinykit.ops.target import Target, TargetForm
from tinykit.passes.ports import input_places


class Coding(NamedTuple):
    """How an input takes a sample, in codes: real = scale * (code - zero_point).

    Scales and zero points may be those of each value.
    """

    shape: tuple[int, ...]
    dtype: str  # "int8", "uint8" or "int16"
    scale: float | tuple[float, ...]
    zero_point: int | tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Coding:
        quant = tensor.quant
        if quant.per_channel:
            return cls(tensor.shape, tensor.dtype, quant.scale, quant.zero_point)
        return cls(tensor.shape, tensor.dtype, tensor.quant.scale0, tensor.quant.zero_point0)

    @property
    def size(self) -> int:
        """Values of a sample."""
        return math.prod(self.shape)


def codings(graph: Graph) -> list[Coding]:
    """How the model takes a sample, for each of its inputs."""
    return [Coding.of(place.tensor) for place in input_places(graph)]


@dataclass(frozen=True)
class Samples:
    """`x`: [n, …] float32 (real values), int8 (quantized already), or int16 (recordings; quantized
    already where the model's input is int16).

    `y`: [n] class numbers (int32) or class names (text), or [n, …] values that the outputs should
    have, float32 or int8 as `x`; None where there are no labels. sample_rate: of recordings, in
    hertz, where it is known.
    """

    x: npt.NDArray[Any]
    y: npt.NDArray[Any] | None
    source: str
    sample_rate: int | None = None

    def __len__(self) -> int:
        return len(self.x)

    def first(self, limit: int | None) -> Samples:
        """At most the first `limit` samples, in order."""
        y = self.y if self.y is None else self.y[:limit]
        return replace(self, x=self.x[:limit], y=y)

    def spread(self, count: int) -> Samples:
        """`count` samples at even distances (all, when there are fewer)."""
        chosen = np.unique(np.linspace(0, len(self.x) - 1, count).round().astype(np.int64))
        return replace(self, x=self.x[chosen], y=None if self.y is None else self.y[chosen])

    @property
    def recorded(self) -> bool:
        """Whether `x` is what a sensor said, of which a frontend is to make inputs."""
        return bool(self.x.dtype == np.int16)

    def heard(self, inputs: Callable[[Array, str], Array]) -> Samples:
        """All inputs that `inputs` makes of the recordings, each with its recording's label."""
        if len(self) == 0:
            return self
        made = [inputs(x, f"{self.source}, recording {i}") for i, x in enumerate(self.x)]
        y = None if self.y is None else np.repeat(self.y, [len(part) for part in made], axis=0)
        return Samples(np.concatenate(made), y, self.source)

    @property
    def classified(self) -> bool:
        """Whether `y` says the class of each sample."""
        return self.y is not None and self.y.ndim == 1

    def class_names(self) -> tuple[str, ...]:
        """The names of the classes in alphabetical order, where `y` has names; else ()."""
        if self.y is None or self.y.dtype.kind != "U":
            return ()
        return tuple(sorted({str(name) for name in self.y}))

    def labels(self, names: Sequence[str] = ()) -> npt.NDArray[np.int32]:
        """The class numbers; names of classes are counted as in `names`.

        Raises UsageError when there are none, or a name is not among them.
        """
        if self.y is None:
            raise UsageError(f"{self.source}: has samples but no labels", "give y as well")
        if self.y.ndim > 1:
            raise UsageError(
                f"{self.source}: y is {list(self.y.shape)}, values for the outputs, not one class "
                "for each sample",
                "give y as class numbers or names, or choose another [training] loss in the plan",
            )
        if self.y.dtype.kind != "U":
            return self.y
        known = tuple(names) or self.class_names()
        numbers = {name: number for number, name in enumerate(known)}
        strange = sorted({str(name) for name in self.y} - numbers.keys())
        if strange:
            raise UsageError(
                f"{self.source}: the model has no class `{strange[0]}`",
                f"its classes: {', '.join(known)}",
            )
        return np.array([numbers[str(name)] for name in self.y], np.int32)

    def targets(self, form: TargetForm, names: Sequence[str] = ()) -> list[Target]:
        """What a loss is told, for each sample. Raises UsageError when `y` is not what it takes."""
        if not form.given:
            return [None] * len(self)
        if self.y is not None and not self.classified:
            return list(self._vectors(form, self.y))
        if self.y is None or form.classes:
            labels = self.labels(names)
            if labels.max() >= form.classes:
                raise UsageError(
                    f"{self.source}: label {labels.max()}: the model has classes "
                    f"0 … {form.classes - 1}",
                    "another number of classes: [model] head = {classes = N}",
                )
            return [int(label) for label in labels]
        return list(self._vectors(form, self.labels()[:, None].astype(np.float32)))

    def _vectors(self, form: TargetForm, y: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
        values = y.reshape(len(y), -1)
        if values.shape[1] != form.values:
            raise UsageError(
                f"{self.source}: y has {values.shape[1]} values a sample; {form.loss} of this "
                f"model takes {form.wanted()}"
            )
        if values.dtype == np.int8:
            return np.ascontiguousarray(values)
        if form.loss == "sigmoid_cross_entropy" and not ((values >= 0) & (values <= 1)).all():
            raise UsageError(f"{self.source}: y must be in 0 … 1 for {form.loss}")
        return form.quantized(values)

    def quantized(self, inputs: Sequence[Coding]) -> npt.NDArray[Any]:
        """[n, …] codes as the model takes them: of one input, in its shape and type; of several,
        [n, 1, all values] int8, the bytes of each behind those of the one before.

        Real values become round(x / scale) + zero_point, saturated, in float32 as TFLite does it;
        int8 is taken as it is, byte for byte, and int16 by an input of int16. Raises UsageError
        when the number of values per sample differs, or their type.
        """
        if self.recorded and all(port.dtype != "int16" for port in inputs):
            raise UsageError(
                f"{self.source}: x is int16, recordings of a sensor; the model wants features",
                "say what makes them: [frontend] in tinykit.toml",
            )
        flat = self.x.reshape(len(self.x), -1)
        if flat.shape[1] != sum(port.size for port in inputs):
            wanted = " and ".join(str(list(port.shape)) for port in inputs)
            raise UsageError(
                f"{self.source}: a sample has shape {list(self.x.shape[1:])}, "
                f"the model's input {wanted}",
                "change the loader, or check that it belongs to this model",
            )
        parts, first = [], 0
        for port in inputs:
            parts.append(self._codes(flat[:, first : first + port.size], port))
            first += port.size
        if len(parts) == 1:
            return np.ascontiguousarray(parts[0].reshape(len(flat), *inputs[0].shape))
        return np.concatenate([part.view(np.int8) for part in parts], axis=1)[:, None]

    def _codes(self, x: npt.NDArray[Any], port: Coding) -> npt.NDArray[Any]:
        if x.dtype.kind == "i":
            wanted = np.dtype(port.dtype)
            if x.itemsize != wanted.itemsize:
                raise UsageError(
                    f"{self.source}: x is {x.dtype}, the model's input {port.dtype}",
                    "give real values as float32; they are quantized as the input is",
                )
            return np.ascontiguousarray(x).view(wanted)
        limits = np.iinfo(port.dtype)
        real = (x.astype(np.float32) / np.asarray(port.scale, np.float32)).astype(np.float64)
        rounded = np.copysign(np.floor(np.abs(real) + 0.5), real)  # half away from zero
        codes = np.clip(rounded + np.asarray(port.zero_point), limits.min, limits.max)
        return np.asarray(codes, np.dtype(port.dtype))


def load_samples(data: DataSection, root: Path, split: Split) -> Samples:
    """The samples of one split as [data] names them, paths relative to `root`.

    Calibration falls back to train. Raises UsageError when a file, function or shape is wrong.
    """
    if data.loader:
        return _from_loader(data.loader, root, split)
    named = {"train": data.train, "test": data.test, "calibration": data.calibration or data.train}
    path = named[split]
    if path is None:
        raise UsageError(
            f"tinykit.toml: [data] names no {split} samples",
            f'add `{split} = "file.npz"` or `loader = "data.py:load"`',
        )
    return load_file(root / path)


def noise(
    shape: tuple[int, ...], form: TargetForm, count: int = 64, dtype: str = "int8"
) -> Samples:
    """Stand-ins for samples: seeded noise of full range, with targets that a loss takes."""
    limits = np.iinfo(dtype)
    codes = np.random.default_rng(0).integers(limits.min, limits.max + 1, (count, *shape))
    x = codes.astype(np.dtype(dtype))
    if not form.given:
        return Samples(x, None, "noise")
    y = np.array(form.stand_ins(count))
    return Samples(x, y.astype(np.int32) if y.ndim == 1 else y, "noise")


def load_file(path: Path) -> Samples:
    """Samples from .npz (arrays x and y), .npy (x), .csv (numbers, the label last), or .wav (one
    recording)."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                if "x" not in arrays:
                    raise UsageError(f"{path}: has no array x (has {', '.join(arrays.files)})")
                return _checked(arrays["x"], arrays.get("y", None), str(path))
        if path.suffix == ".npy":
            return _checked(np.load(path, allow_pickle=False), None, str(path))
        if path.suffix == ".csv":
            table = np.loadtxt(path, delimiter=",", ndmin=2, dtype=np.float64)
            return _checked(table[:, :-1], table[:, -1], str(path))
        if path.suffix == ".wav":
            return _sound(path)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except TinykitError:
        raise
    except Exception as error:  # numpy's readers raise many types on a damaged file
        raise UsageError(f"{path}: cannot be read as {path.suffix}: {error}") from error
    raise UsageError(f"{path}: unknown kind of file", "use .npz, .npy, .csv or .wav")


def _sound(path: Path) -> Samples:
    """One recording of one channel."""
    with wave.open(str(path), "rb") as sound:
        if sound.getsampwidth() != 2 or sound.getnchannels() != 1:
            raise UsageError(
                f"{path}: {8 * sound.getsampwidth()} bits, {sound.getnchannels()} channels; "
                "recordings are of 16 bits and one channel",
                "sox in.wav -b 16 -c 1 out.wav",
            )
        x = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.int16)
        return Samples(x[None], None, str(path), sound.getframerate())


def _checked(x: object, y: object, source: str) -> Samples:
    values = np.asarray(x)
    if values.ndim < 2 or not len(values):
        raise UsageError(f"{source}: x must be [samples, …], it is {list(values.shape)}")
    if values.dtype not in (np.int8, np.int16):
        if values.dtype.kind != "f":
            raise UsageError(
                f"{source}: x is {values.dtype}; real values must be float32, quantized ones int8, "
                "recordings int16",
                "convert it in the loader: whether 0…255 means 0…1 is not to be guessed",
            )
        if not np.isfinite(values).all():
            raise UsageError(f"{source}: x holds NaN or infinite values")
        values = values.astype(np.float32)
    if y is None:
        return Samples(values, None, source)
    return Samples(values, _checked_labels(np.asarray(y), len(values), source), source)


def _checked_labels(y: npt.NDArray[Any], count: int, source: str) -> npt.NDArray[Any]:
    """Class numbers, class names, or values for the outputs."""
    y = np.atleast_1d(y)
    if y.ndim > 1 and y.size == len(y) and not _real_vector(y):
        y = y.reshape(-1)
    if len(y) != count:
        raise UsageError(f"{source}: {count} samples but {len(y)} labels")
    if y.dtype.kind in "US":
        return y.reshape(-1).astype(str)
    if y.ndim > 1:
        if y.dtype == np.int8:
            return y
        if y.dtype.kind not in "fiub" or not np.isfinite(y).all():
            raise UsageError(f"{source}: y must be finite numbers, it is {y.dtype}")
        return y.astype(np.float32)
    whole = y.astype(np.int32)
    if not np.array_equal(whole, y) or whole.min() < 0:
        raise UsageError(
            f"{source}: labels must be class numbers from 0",
            "values that outputs should have are a y of two dimensions: [samples, values]",
        )
    return whole


def _real_vector(y: npt.NDArray[Any]) -> bool:
    """Whether a column holds what cannot be class numbers."""
    return y.dtype.kind == "f" and not np.array_equal(y, np.abs(np.rint(y)))


def _from_loader(loader: str, root: Path, split: Split) -> Samples:
    file, _, name = loader.rpartition(":")
    function = _import(root / file, name, loader)
    try:
        result = function(split) if inspect.signature(function).parameters else function()
    except TinykitError:
        raise
    except Exception as error:  # the user's own code: say whose it is, keep the cause for -v
        raise UsageError(
            f"{loader}({split!r}) raised {type(error).__name__}: {error}",
            "run with -v for the traceback",
        ) from error
    if not isinstance(result, tuple) or len(result) != 2:
        raise UsageError(f"{loader}({split!r}) must return (x, y), not {type(result).__name__}")
    return _checked(result[0], result[1], f"{loader}({split!r})")


def _import(path: Path, name: str, loader: str) -> Callable[..., object]:
    """The function `name` of the file; the file may import its neighbours."""
    if not path.is_file():
        raise UsageError(f"tinykit.toml: [data] loader: {path} does not exist")
    module_name = f"tinykit_project_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"tinykit.toml: [data] loader: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except TinykitError:
        raise
    except Exception as error:
        raise UsageError(
            f"{path} cannot be imported: {type(error).__name__}: {error}",
            "run with -v for the traceback",
        ) from error
    finally:
        sys.path.remove(str(path.parent))
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"tinykit.toml: [data] loader: {path} has no function {name}", loader)
    return function  # type: ignore[no-any-return]
