"""A project's samples: from a loader function or from files, quantized as the model's input is."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinykit.config import DataSection, Split
from tinykit.errors import TinykitError, UsageError


@dataclass(frozen=True)
class Samples:
    """`x`: [n, …] float32 (real values) or int8 (quantized already); `y`: [n] int32 labels."""

    x: npt.NDArray[Any]
    y: npt.NDArray[np.int32] | None
    source: str

    def __len__(self) -> int:
        return len(self.x)

    def first(self, limit: int | None) -> Samples:
        """At most the first `limit` samples, in order."""
        y = self.y if self.y is None else self.y[:limit]
        return Samples(self.x[:limit], y, self.source)

    def spread(self, count: int) -> Samples:
        """`count` samples at even distances (all, when there are fewer)."""
        chosen = np.unique(np.linspace(0, len(self.x) - 1, count).round().astype(np.int64))
        return Samples(self.x[chosen], None if self.y is None else self.y[chosen], self.source)

    def labels(self) -> npt.NDArray[np.int32]:
        """The labels. Raises UsageError when there are none."""
        if self.y is None:
            raise UsageError(f"{self.source}: has samples but no labels", "give y as well")
        return self.y

    def quantized(
        self, shape: tuple[int, ...], scale: float, zero_point: int
    ) -> npt.NDArray[np.int8]:
        """[n, *shape] int8 for a model input of `shape` (one sample, with a batch axis or without).

        Real values become round(x / scale) + zero_point, saturated, in float32 as TFLite does it;
        int8 is taken as it is. Raises UsageError when the number of values per sample differs.
        """
        per_sample = int(np.prod(self.x.shape[1:], dtype=np.int64))
        if per_sample != int(np.prod(shape, dtype=np.int64)):
            raise UsageError(
                f"{self.source}: a sample has shape {list(self.x.shape[1:])}, "
                f"the model's input {list(shape)}",
                "change the loader, or check that it belongs to this model",
            )
        x = self.x.reshape(len(self.x), *shape)
        if x.dtype == np.int8:
            return np.ascontiguousarray(x)
        real = (x.astype(np.float32) / np.float32(scale)).astype(np.float64)
        rounded = np.copysign(np.floor(np.abs(real) + 0.5), real)  # half away from zero
        return np.ascontiguousarray(np.clip(rounded + zero_point, -128, 127).astype(np.int8))


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


def noise(shape: tuple[int, ...], classes: int, count: int = 64) -> Samples:
    """Stand-ins for samples: seeded int8 noise of full range, labels in turn."""
    x = np.random.default_rng(0).integers(-128, 128, (count, *shape)).astype(np.int8)
    return Samples(x, np.arange(count, dtype=np.int32) % np.int32(classes), "noise")


def load_file(path: Path) -> Samples:
    """Samples from .npz (arrays x and y), .npy (x) or .csv (numbers, the label last)."""
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
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except TinykitError:
        raise
    except Exception as error:  # numpy's readers raise many types on a damaged file
        raise UsageError(f"{path}: cannot be read as {path.suffix}: {error}") from error
    raise UsageError(f"{path}: unknown kind of file", "use .npz, .npy or .csv")


def _checked(x: object, y: object, source: str) -> Samples:
    values = np.asarray(x)
    if values.ndim < 2 or not len(values):
        raise UsageError(f"{source}: x must be [samples, …], it is {list(values.shape)}")
    if values.dtype != np.int8:
        if values.dtype.kind != "f":
            raise UsageError(
                f"{source}: x is {values.dtype}; real values must be float32, quantized ones int8",
                "convert it in the loader: whether 0…255 means 0…1 is not to be guessed",
            )
        if not np.isfinite(values).all():
            raise UsageError(f"{source}: x holds NaN or infinite values")
        values = values.astype(np.float32)
    if y is None:
        return Samples(values, None, source)
    labels = np.asarray(y).reshape(-1)
    if len(labels) != len(values):
        raise UsageError(f"{source}: {len(values)} samples but {len(labels)} labels")
    whole = labels.astype(np.int32)
    if not np.array_equal(whole, labels) or whole.min() < 0:
        raise UsageError(f"{source}: labels must be class numbers from 0")
    return Samples(values, whole, source)


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
