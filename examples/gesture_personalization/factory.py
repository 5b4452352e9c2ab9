"""The factory's part: train on everyone but one person, quantize to int8, keep both.

What is made is kept in a folder named after its sources (this folder's data.py and model.py), so
that a second run needs neither TensorFlow nor time, and a changed source is never forgotten.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from data import Split, Windows, calibration_samples, make_split
from numpy.typing import NDArray

from tinykit.codegen import Manifest, generate
from tinykit.data import Samples, codings
from tinykit.importers import load_model
from tinykit.ir import Graph
from tinykit.training.plan import Plan

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"
GRADIENT_SAMPLES = 32  # that set the exponents of the gradients
SEED = 1


@dataclass(frozen=True)
class Factory:
    """What a device leaves the factory with. Accuracies (shares of 1) are of the held-out
    subject's test windows; `seconds` is what training took, `cached` says that it was earlier."""

    subject: int
    split: Split
    model: Path
    bytes_int8: int
    accuracy_float: float
    accuracy_int8: float
    weakest_layer: str
    weakest_ratio: float
    seconds: float
    cached: bool

    def graph(self) -> Graph:
        """The int8 model, imported."""
        return load_model(self.model)

    def generate(self, folder: Path, plan: Plan) -> Manifest:
        """C for the model with the plan; the range of its gradients is set by other people."""
        return generate_model(self.graph(), self.split, folder, plan)


def generate_model(graph: Graph, split: Split, folder: Path, plan: Plan) -> Manifest:
    """C named gesture.c in `folder`; gradients are calibrated with training windows of `split`."""
    windows = calibration_samples(split, GRADIENT_SAMPLES)
    labels = [int(label) for label in windows.y]
    x = int8_windows(windows, graph)
    return generate(graph, folder, name="gesture", plan=plan, samples=x, labels=labels)


def int8_windows(windows: Windows, graph: Graph) -> NDArray[np.int8]:
    """[n, 1, 100, 6]: windows quantized as the model's input is."""
    return Samples(windows.x, windows.y.astype(np.int32), "data.py").quantized(codings(graph))


def make_factory_model(
    subject: int, seed: int = SEED, say: Callable[[str], None] = lambda _: None
) -> Factory:
    """The int8 model for everyone but `subject`, from the cache or freshly made."""
    split = make_split(subject)
    folder = CACHE / f"{_sources()}-subject{subject}-seed{seed}"
    facts_file = folder / "facts.json"
    cached = facts_file.is_file()
    if not cached:
        _make(split, seed, folder, say)
    facts = json.loads(facts_file.read_text())
    return Factory(
        subject=subject, split=split, model=folder / "gesture.tflite", cached=cached, **facts
    )


def _make(split: Split, seed: int, folder: Path, say: Callable[[str], None]) -> None:
    from model import train_model

    from tinykit.compress.quantize import quantize

    say(f"training on {len(split.train):,} windows of nine people")
    start = time.perf_counter()
    model = train_model(split.train, seed)
    seconds = time.perf_counter() - start
    say("quantizing to int8")
    folder.mkdir(parents=True, exist_ok=True)
    report = quantize(
        model,
        calibration_samples(split).x,
        folder / "gesture.tflite",
        test=(split.test.x, split.test.y),
    )
    model.save(folder / "gesture.keras")
    facts = {
        "bytes_int8": report.bytes_int8,
        "accuracy_float": report.accuracy_float,
        "accuracy_int8": report.accuracy_int8,
        "weakest_layer": report.weakest.name,
        "weakest_ratio": report.weakest.signal_to_noise,
        "seconds": seconds,
    }
    partial = folder / "facts.partial"
    partial.write_text(json.dumps(facts, indent=1))
    partial.replace(folder / "facts.json")  # last: a run that was stopped leaves no half a result


def _sources() -> str:
    digest = hashlib.sha256()
    for name in ("data.py", "model.py"):
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()[:12]
