"""The same work on the device and on the host reference, compared run by run, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tinykit.errors import LinkError, UsageError, VerifyError
from tinykit.link import Client
from tinykit.ops.target import Target
from tinykit.verify.constants import altered_constants
from tinykit.verify.locate import first_differing
from tinykit.verify.reference import DeviceSide, HostSide, Outcome, Reference, Sample
from tinykit.verify.result import (
    AlteredConstant,
    Difference,
    Location,
    TensorBits,
    VerifyResult,
    count_bits,
)

Progress = Callable[[int, int], None]
NO_TRACE = (
    "this firmware was built without the layer trace, so the layer cannot be named: build it with "
    "`tinykit build --trace` and verify again"
)


@dataclass
class _Sequence:
    """One verification under way."""

    device: DeviceSide
    host: HostSide
    progress: Progress | None
    total: int
    done: int = 0
    steps: list[Sample] = field(default_factory=list)  # since the reset, for replaying

    # ---- states ----

    def reset(self) -> None:
        self.device.client.reset()
        self.host.reference.reset()

    def _load(self, saved: bytes) -> None:
        self.device.client.load(saved)
        self.host.reference.load(saved)

    def _replay(self) -> None:
        self.reset()
        for sample in self.steps:
            self.device.run(sample, -1)
            self.host.run(sample, -1)

    # ---- runs ----

    def run(self, sample: Sample, when: str) -> Difference | None:
        """Runs `sample` on both sides; what differs, and where first."""
        trains = self.host.reference.manifest.trains
        before = self.host.reference.save() if trains else b""
        ours, theirs = self.device.run(sample), self.host.run(sample)
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)
        if ours == theirs:
            if sample.trains:
                self.steps.append(sample)
            return None
        what, device, reference = _first_value(ours, theirs)
        if not self.device.traces:
            return Difference(when, what, device, reference, why_not=NO_TRACE)
        location = self._locate(sample, before)
        why_not = "" if location else "the difference does not come again from the same state"
        return Difference(when, what, device, reference, location, why_not)

    def _locate(self, sample: Sample, before: bytes) -> Location | None:
        manifest = self.host.reference.manifest
        ops = manifest.ops if sample.trains else manifest.infer_ops
        if not manifest.trains:
            return first_differing(self.device, self.host, sample, ops, lambda: None)
        try:
            found = first_differing(self.device, self.host, sample, ops, lambda: self._load(before))
            if found is not None:
                return found
        except LinkError:
            pass  # a firmware whose loading is broken, too: from the very beginning, then
        return first_differing(self.device, self.host, sample, ops, self._replay)

    def parameters(self) -> tuple[TensorBits, ...]:
        """Every trained tensor, compared."""
        reference = self.host.reference
        return count_bits(
            reference.manifest.parameters, self.device.client.parameters(), reference.parameters()
        )


def _first_value(ours: Outcome, theirs: Outcome) -> tuple[str, str, str]:
    for (what, device), (_, reference) in zip(ours.values, theirs.values, strict=True):
        if device != reference:
            return what, device, reference
    return "layer trace", f"0x{ours.trace or 0:08x}", f"0x{theirs.trace or 0:08x}"


def _initial_difference(tensors: tuple[TensorBits, ...]) -> Difference | None:
    for tensor in tensors:
        if tensor.differing:
            return Difference(
                when="the initial parameters",
                what=f"tensor '{tensor.name}'",
                device=f"wrong in {tensor.differing} of {tensor.bits} bits",
                reference="as generated",
                location=Location(-1, tensor.name, "", "initial", tensor.layer),
            )
    return None


def compare(
    client: Client,
    reference: Reference,
    samples: NDArray[np.int8],
    targets: Sequence[Target] | NDArray[np.int64] | NDArray[np.int32] | None = None,
    *,
    steps: int = 200,
    inferences: int = 10,
    progress: Progress | None = None,
) -> VerifyResult:
    """Inferences, training steps, inferences, on the device and on the reference.

    samples: int8 [n, …] in the model's input shape; targets: n of what the loss takes (class
    numbers, int8 values, or None), needed when the model trains. Samples are used in order, again
    from the first when they run out. Compared are every output, prediction, loss (its bits),
    counter, the checksum of the parameters after every step, the trace over all operators (if
    compiled in), and at the end every bit of every parameter. Stops at the first difference and
    finds the operator that it comes from. Where the firmware's file is known (`client.elf`), its
    constants are compared, too. What a device has learnt before is saved first and put back
    afterwards.
    """
    manifest = reference.manifest
    if client.hello.identity != manifest.identity:
        raise VerifyError(
            f"the firmware holds model '{client.hello.name}' ({client.hello.identity[:8]}), not "
            f"'{manifest.name}' ({manifest.identity[:8]})",
            "build and flash the firmware of this model",
        )
    trains = manifest.trains and steps > 0
    if len(samples) == 0 or (trains and (targets is None or len(targets) != len(samples))):
        count = 0 if targets is None else len(targets)
        raise UsageError(f"verification got {len(samples)} samples and {count} labels")
    learnt = client.save() if manifest.trains else b""
    try:
        return _compare(client, reference, samples, targets, steps, inferences, progress)
    finally:
        reference.trace(-1)
        _put_back(client, learnt)


def _put_back(client: Client, learnt: bytes) -> None:
    try:
        if client.hello.traces:
            client.trace(-1)
        if learnt:
            client.load(learnt)
    except LinkError:
        return  # the link is down; that error is on its way already


def _compare(
    client: Client,
    reference: Reference,
    samples: NDArray[np.int8],
    targets: Sequence[Target] | NDArray[np.int64] | NDArray[np.int32] | None,
    steps: int,
    inferences: int,
    progress: Progress | None,
) -> VerifyResult:
    device = DeviceSide(client)
    host = HostSide(reference, device.traces)
    trains = reference.manifest.trains
    steps = steps if trains else 0
    rounds = 2 if steps else 1
    work = _Sequence(device, host, progress, total=rounds * inferences + steps)
    tensors: tuple[TensorBits, ...] = ()
    difference = None
    if trains:
        work.reset()
        tensors = work.parameters()
        difference = _initial_difference(tensors)
    plan = [Sample(samples[index % len(samples)]) for index in range(inferences)]
    if steps:
        assert targets is not None
        at = [index % len(samples) for index in range(steps)]
        plan = [*plan, *(Sample(samples[index], True, targets[index]) for index in at), *plan]
    trained = ran = 0
    for sample in plan:
        if difference is not None:
            break
        if sample.trains:
            trained += 1
            when = f"training step {trained}"
        else:
            ran += 1
            when = f"inference {ran}" + (f" (after {trained} training steps)" if trained else "")
        difference = work.run(sample, when)
    if trains and difference is None:
        client.apply()
        reference.apply()
        tensors = work.parameters()
    saturations = client.counters().saturations if steps else 0
    altered: tuple[AlteredConstant, ...] = ()
    if difference is None and client.elf is not None:
        altered = altered_constants(client.elf, reference.library_path, reference.manifest)
    return VerifyResult(ran, trained, saturations, device.traces, tensors, difference, altered)


def verify(
    client: Client,
    reference: Reference,
    samples: NDArray[np.int8],
    targets: Sequence[Target] | NDArray[np.int64] | NDArray[np.int32] | None = None,
    *,
    steps: int = 200,
    inferences: int = 10,
    progress: Progress | None = None,
) -> VerifyResult:
    """`compare`, with VerifyError for any difference: one line that names the first layer."""
    result = compare(
        client, reference, samples, targets, steps=steps, inferences=inferences, progress=progress
    )
    if result.difference is not None:
        raise VerifyError(str(result.difference), result.difference.why_not)
    if result.differing_bits:
        worst = next(tensor for tensor in result.tensors if tensor.differing)
        raise VerifyError(
            f"device and host reference differ in {result.differing_bits} bits of the trained "
            f"parameters, first in '{worst.name}' of layer '{worst.layer}'"
        )
    if result.altered:
        first = result.altered[0]
        place = f"layer '{first.layer}'" if first.layer else f"'{first.symbol}'"
        raise VerifyError(
            f"the firmware's file differs from what was generated first in {place}: "
            f"{first.bytes} of {first.size} bytes of '{first.symbol}', though no sample showed it",
            "build the firmware again",
        )
    return result
