"""A project's samples on a running device: infer, evaluate, train."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tinykit.data import Samples
from tinykit.errors import UsageError

if TYPE_CHECKING:
    from tinykit.codegen.manifest import Manifest
    from tinykit.host import HostModel
    from tinykit.link import Client
    from tinykit.verify import VerifyResult

Progress = Callable[[int, int], None]  # how many are done, of how many


@dataclass(frozen=True)
class Inference:
    """One sample's outputs in real units, and its label where there is one."""

    outputs: npt.NDArray[np.float32]
    label: int | None

    @property
    def prediction(self) -> int:
        """The class with the largest output."""
        return int(np.argmax(self.outputs))


@dataclass(frozen=True)
class Accuracy:
    """Predictions on labelled samples, in pairs."""

    predictions: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def correct(self) -> int:
        """How many predictions equal their label."""
        return sum(p == y for p, y in zip(self.predictions, self.labels, strict=True))

    @property
    def share(self) -> float:
        """Accuracy, 0 … 1; NaN without samples."""
        return self.correct / len(self.labels) if self.labels else math.nan


@dataclass(frozen=True)
class TrainedStep:
    """What the device said of one step; prediction and loss are from before the update.

    saturations, skipped: since the start; updated: weights and biases that this step changed.
    """

    label: int
    prediction: int
    loss: float
    saturations: int
    skipped: int
    updated: int


@dataclass(frozen=True)
class Session:
    """A client connected to a device that runs the model of this manifest."""

    client: Client
    manifest: Manifest

    def quantize(self, samples: Samples) -> npt.NDArray[np.int8]:
        """[n, …] int8 as the model's input wants them."""
        port = self.manifest.input
        return samples.quantized(port.shape, port.scale, port.zero_point)

    def infer(self, samples: Samples, progress: Progress | None = None) -> list[Inference]:
        """Run each sample through the model on the device."""
        port = self.manifest.output
        results = []
        for index, x in enumerate(self.quantize(samples)):
            raw = self.client.infer(x).astype(np.float32)
            outputs = (raw - np.float32(port.zero_point)) * np.float32(port.scale)
            label = None if samples.y is None else int(samples.y[index])
            results.append(Inference(outputs.reshape(-1), label))
            if progress is not None:
                progress(index + 1, len(samples))
        return results

    def evaluate(self, samples: Samples, progress: Progress | None = None) -> Accuracy:
        """Predictions on the device for labelled samples."""
        labels = samples.labels()
        found = self.client.evaluate(self.quantize(samples), labels, progress)
        return Accuracy(found.predictions, tuple(int(label) for label in labels))

    def train(
        self, samples: Samples, epochs: int = 1, progress: Progress | None = None
    ) -> list[TrainedStep]:
        """One step on the device for each labelled sample, in order, `epochs` times over.

        An accumulation that the last sample left open is applied.
        """
        x, labels = self.quantize(samples), samples.labels()
        steps = []
        for done in range(epochs * len(x)):
            label = int(labels[done % len(x)])
            step = self.client.train(x[done % len(x)], label)
            steps.append(
                TrainedStep(
                    label,
                    step.prediction,
                    step.loss,
                    step.saturations,
                    step.skipped,
                    step.updated,
                )
            )
            if progress is not None:
                progress(done + 1, epochs * len(x))
        self.client.apply()
        return steps

    def verify(
        self,
        reference: HostModel,
        samples: Samples,
        *,
        steps: int = 200,
        inferences: int = 10,
        stop: bool = True,
        progress: Progress | None = None,
    ) -> VerifyResult:
        """Compare the device with the host reference, bit for bit.

        With `stop`, raises VerifyError naming the first layer that differs; otherwise the result
        says so.
        """
        from tinykit.verify import compare, verify

        run = verify if stop else compare
        return run(
            self.client,
            reference,
            self.quantize(samples),
            samples.y,
            steps=steps,
            inferences=inferences,
            progress=progress,
        )

    def save(self, path: Path) -> None:
        """Write what the device has learnt to a file."""
        path.write_bytes(self.client.save())

    def load(self, path: Path) -> None:
        """Give the device what `save` kept. Raises UsageError when it is of another model."""
        try:
            saved = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
        self.client.load(saved)
