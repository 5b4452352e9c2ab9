"""The reference models, and the samples that are run through them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinykit.data import noise
from tinykit.errors import UsageError
from tinykit.ops.target import TargetForm

MLPERF_TINY = {
    "kws": "mlperf_tiny/kws_ref_model.tflite",
    "ic": "mlperf_tiny/pretrainedResnet_quant.tflite",
    "vww": "mlperf_tiny/vww_96_int8.tflite",
    "ad": "mlperf_tiny/ad01_int8.tflite",
}


def shared_models() -> Path:
    """The folder of reference models: $TINYKIT_SHARED/models, or ../shared/models.

    Raises UsageError where it is not there.
    """
    beside = Path(__file__).resolve().parents[3] / "shared"
    folder = Path(os.environ.get("TINYKIT_SHARED") or beside) / "models"
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: the reference models are not there", "set TINYKIT_SHARED, or give --model"
        )
    return folder


def choose(given: list[Path] | None) -> dict[str, Path]:
    """The files to measure by name: those given, or the four of MLPerf Tiny."""
    names = {Path(file).name: name for name, file in MLPERF_TINY.items()}
    for path in given or ():
        if not path.is_file():
            raise UsageError(f"{path}: no such model")
    if given:
        return {names.get(path.name, path.stem): path for path in given}
    folder = shared_models()
    return {name: folder / file for name, file in MLPERF_TINY.items()}


def samples_for(shape: tuple[int, ...]) -> list[NDArray[np.int8]]:
    """Seeded samples: noise of full range first (the one that is reported), then of smaller ranges
    about other levels, both extremes, and these in turn."""
    full = noise(shape, TargetForm(""), count=3).x
    levels = zip(full, (-96, 0, 96), strict=True)
    quiet = [(sample // 8 + level).astype(np.int8) for sample, level in levels]
    flat = [np.full(shape, value, np.int8) for value in (-128, 127)]
    turns = np.resize(np.array([-128, 127], np.int8), shape)
    return [np.ascontiguousarray(sample) for sample in (full[0], *quiet, *flat, turns)]
