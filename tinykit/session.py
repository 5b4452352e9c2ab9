"""A project's samples on a running device: infer, evaluate, train."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tinykit.data import Coding, Samples
from tinykit.errors import UsageError, VerifyError
from tinykit.ir import Array
from tinykit.ops.target import Target

if TYPE_CHECKING:
    from tinykit.codegen.manifest import Manifest
    from tinykit.host import HostModel
    from tinykit.link import Client
    from tinykit.telemetry import StepLog
    from tinykit.verify import VerifyResult

Progress = Callable[[int, int], None]  # how many are done, of how many


@dataclass(frozen=True)
class Inference:
    """One sample's outputs in real units, and its label where there is one.

    threshold: of a single output, above which the prediction is 1.
    """

    outputs: npt.NDArray[np.float32]
    label: int | None
    threshold: float = 0.0

    @property
    def prediction(self) -> int:
        """The class with the largest output; of a single one, whether it is above the threshold."""
        if self.outputs.size == 1:
            return int(self.outputs[0] > self.threshold)
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
class Deviation:
    """How far outputs are from the values that they should have."""

    samples: int
    mean_squared: float  # mean over samples and outputs of (output - value)^2, in real units
    right: float | None = None  # share of outputs on the right side of the threshold, for yes or no


@dataclass(frozen=True)
class TrainedStep:
    """What the device said of one step; prediction and loss are from before the update.

    label: None where the target is a vector or the input; the prediction then counts for nothing.
    saturations, skipped, rollbacks: since the start; updated: weights and biases that this step
    changed.
    """

    label: int | None
    prediction: int
    loss: float
    saturations: int
    skipped: int
    updated: int
    rollbacks: int = 0


@dataclass(frozen=True)
class Session:
    """A client connected to a device that runs the model of this manifest.

    instructions: of each inference and step so far, where the target counts them
    """

    client: Client
    manifest: Manifest
    instructions: Callable[[], list[int]] = list

    def quantize(self, samples: Samples) -> npt.NDArray[np.int8]:
        """[n, …] the bytes that the model's input wants, as int8."""
        codings = [
            Coding(p.shape, p.dtype, p.scales or p.scale, p.zero_points or p.zero_point)
            for p in self.manifest.inputs
        ]
        return samples.quantized(codings).view(np.int8)

    def infer(self, samples: Samples, progress: Progress | None = None) -> list[Inference]:
        """Run each sample through the model on the device."""
        ports, names = self.manifest.outputs, self.manifest.class_names
        labels = samples.labels(names) if samples.classified and len(ports) == 1 else None
        results = []
        for index, x in enumerate(self.quantize(samples)):
            raw = self.client.infer(x).tobytes()
            parts = [port.real(port.codes(raw)).reshape(-1) for port in ports]
            label = None if labels is None else int(labels[index])
            results.append(Inference(np.concatenate(parts), label, self.manifest.threshold))
            if progress is not None:
                progress(index + 1, len(samples))
        return results

    def evaluate(self, samples: Samples, progress: Progress | None = None) -> Accuracy | Deviation:
        """Predictions on the device for labelled samples, or how far its outputs are from values.

        A model that learns by mean squared error is held against values: those of the samples, or
        the samples themselves where it is an autoencoder.
        """
        ports = self.manifest.outputs
        if len(ports) > 1:
            names = ", ".join(f"{i} ({port.name})" for i, port in enumerate(ports))
            raise UsageError(
                f"{self.manifest.name} has {len(ports)} outputs; accuracy is that of one",
                f"choose it in tinykit.toml: [model] output; it has {names}",
            )
        form = self.manifest.target.form if self.manifest.target else None
        reconstructs = form is not None and not form.given
        if not reconstructs and (samples.y is None or samples.classified):
            samples.labels(self.manifest.class_names)
            results = self.infer(samples, progress)
            return Accuracy(
                tuple(result.prediction for result in results),
                tuple(result.label for result in results if result.label is not None),
            )
        outputs = np.stack([result.outputs for result in self.infer(samples, progress)])
        expected = self._expected(samples, reconstructs)
        if expected.shape != outputs.shape:
            raise UsageError(
                f"{samples.source}: y has {expected.shape[1]} values a sample, the model "
                f"{outputs.shape[1]} outputs"
            )
        right = None
        if form is not None and form.loss == "sigmoid_cross_entropy":
            right = float(((outputs > self.manifest.threshold) == (expected > 0.5)).mean())
        return Deviation(len(samples), float(((outputs - expected) ** 2).mean()), right)

    def _expected(self, samples: Samples, reconstructs: bool) -> npt.NDArray[np.float32]:
        """The values that the outputs should have, [n, outputs], in real units."""
        if reconstructs:
            port = self.manifest.input
            codes = [port.codes(x.tobytes()) for x in self.quantize(samples)]
            return np.stack([port.real(values).reshape(-1) for values in codes])
        assert samples.y is not None
        values = samples.y.reshape(len(samples), -1).astype(np.float32)
        if samples.y.dtype == np.int8 and self.manifest.target is not None:
            form = self.manifest.target
            values = (values - np.float32(form.zero_point)) * np.float32(form.scale)
        return values

    def train(
        self,
        samples: Samples,
        epochs: int = 1,
        progress: Progress | None = None,
        log: StepLog | None = None,
        *,
        predict_first: bool = False,
    ) -> list[TrainedStep]:
        """One step on the device for each labelled sample, in order, `epochs` times over.

        predict_first: each sample is inferred, then learnt without being sent again.
        An accumulation that the last sample left open is applied. `log` gets every step as it is
        done.
        """
        x, targets = self.quantize(samples), self._targets(samples)
        steps = []
        for done in range(epochs * len(x)):
            target = targets[done % len(x)]
            if predict_first:
                self.client.infer(x[done % len(x)])
                step = self.client.learn(target)
            else:
                step = self.client.train(x[done % len(x)], target)
            label = target if isinstance(target, int) else None
            if log is not None:
                counts = self.instructions()
                count = counts[-1] if counts else None
                log.add(step, self.client.telemetry(), label=label, instructions=count)
            steps.append(
                TrainedStep(
                    label,
                    step.prediction,
                    step.loss,
                    step.saturations,
                    step.skipped,
                    step.updated,
                    step.rollbacks,
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
        recordings: Sequence[Array] = (),
        stop: bool = True,
        progress: Progress | None = None,
    ) -> VerifyResult:
        """Compare the device with the host reference, bit for bit.

        recordings: int16, for the frontend, whose inputs are compared, too. With `stop`, raises
        VerifyError naming the first layer that differs; otherwise the result says so.
        """
        from tinykit.verify import compare, verify
        from tinykit.verify.frontend import compare_inputs

        run = verify if stop else compare
        trains = self.manifest.trains and steps > 0
        result = run(
            self.client,
            reference,
            self.quantize(samples),
            self._targets(samples) if trains else None,
            steps=steps,
            inferences=inferences,
            progress=progress,
        )
        if not result.equal or not recordings:
            return result
        heard, difference = compare_inputs(self.client, reference, recordings)
        if difference is not None and stop:
            raise VerifyError(str(difference))
        return replace(result, heard=heard, difference=difference)

    def _targets(self, samples: Samples) -> list[Target]:
        """What the loss is told of each sample; the client refuses firmware that does not train."""
        if self.manifest.target is None:
            return [int(label) for label in samples.labels(self.manifest.class_names)]
        return samples.targets(self.manifest.target.form, self.manifest.class_names)

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
