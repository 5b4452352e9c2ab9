"""Learning by the generated C, built for this machine: what a device does, bit for bit.

What is frozen runs once for each sample; the suffix trains on its int8 results (see
tinykit.training.features, and tests/passes/test_cut.py for that the bits are the same).
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.measuring.accuracy.problem import Head, Labelled, Problem
from tinykit.codegen.generate import Compiled, compile_model, write
from tinykit.host import HostModel
from tinykit.ir import Array, Graph
from tinykit.ops.update import UpdateAttributes
from tinykit.schedule.parameters import parameter_block
from tinykit.training.features import divide
from tinykit.training.plan import Plan

FAST = ("-O3", "-march=native")  # the bits are the same
CALIBRATION = 16  # samples for the exponents of the gradients


@dataclass(frozen=True)
class Prepared:
    """A compiled suffix with the features that it learns from; the plan's rate and seed, and the
    head's weights, may change without compiling anew."""

    compiled: Compiled
    train: Labelled
    test: Labelled

    @property
    def forward(self) -> Graph:
        """What infers: trained tensors are stored as parameters."""
        return self.compiled.infer.graph

    def started(self, plan: Plan, head: Head | None) -> Compiled:
        """With the rate, the seed and the accumulation of another plan of the same kind."""
        assert self.compiled.train is not None
        compiled = self.compiled
        infer, train = compiled.infer.graph, self.compiled.train.graph
        ops = []
        for op in train.ops:
            if op.phase == "update" and isinstance(op.attributes, UpdateAttributes):
                rule = replace(op.attributes.rule, seed=plan.optimizer.seed)
                op = replace(op, attributes=replace(op.attributes, rule=rule))
            ops.append(op)
        train = with_head(replace(train, ops=tuple(ops)), head)
        return replace(
            compiled,
            infer=replace(compiled.infer, graph=with_head(infer, head)),
            train=replace(self.compiled.train, graph=train),
            block=parameter_block(train),
            plan=plan,
        )


def with_head(graph: Graph, head: Head | None) -> Graph:
    """The graph with a seed's weights in its head. Raises KeyError where it has no such tensor."""
    return graph.with_tensors(graph[name].with_data(data) for name, data in (head or {}).items())


def prepare(problem: Problem, plan: Plan, work: Path, cache: Path) -> Prepared:
    """Cut, run what is frozen over all samples, compile what learns."""
    parts = divide(problem.graph, plan)
    train, test, known = (
        Labelled(features(parts.prefix, part.x, work / "prefix", cache), part.y)
        for part in (problem.train, problem.test, _first(problem.calibration))
    )
    compiled = compile_model(
        parts.suffix, name="suffix", plan=parts.plan, samples=known.x,
        labels=[int(label) for label in known.y],
    )  # fmt: skip
    return Prepared(compiled, train, test)


def _first(samples: Labelled) -> Labelled:
    return samples.take(np.arange(min(CALIBRATION, len(samples))))


def features(prefix: Graph, x: NDArray[np.int8], work: Path, cache: Path) -> NDArray[np.int8]:
    """int8 [n, …]: the prefix's output for each sample, by generated C; kept in `cache`."""
    if not prefix.ops:
        return x
    digest = hashlib.sha256(np.ascontiguousarray(x).tobytes())
    for op in prefix.ops:
        digest.update(repr(op).encode())
        for name in op.reads:
            if prefix[name].constant:
                digest.update(np.ascontiguousarray(prefix[name].value).tobytes())
    path = cache / f"features-{digest.hexdigest()[:24]}.npy"
    if path.exists():
        return np.asarray(np.load(path), np.int8)
    write(compile_model(prefix, name="prefix"), work)
    host = HostModel(work, flags=FAST)
    found = np.stack([host.infer(sample) for sample in x]).astype(np.int8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        np.save(file, found)
    Path(file.name).replace(path)
    return found


@dataclass(frozen=True)
class Learnt:
    """Accuracies in %, of the test samples; `seconds` are of the steps alone."""

    before: float
    after: float
    steps: int
    seconds: float
    saturations: int = 0


def learn(
    prepared: Prepared,
    plan: Plan,
    head: Head | None,
    order: Array,
    work: Path,
    say: Callable[[int, int], None] | None = None,
) -> Learnt:
    """One run of the C engine; order: the sample of each step."""
    write(prepared.started(plan, head), work)
    host = HostModel(work, flags=FAST)
    before = accuracy(host, prepared.test)
    start, saturations = time.perf_counter(), 0
    labels = [int(label) for label in prepared.train.y]
    for done, index in enumerate(order):
        saturations = host.train(prepared.train.x[index], labels[index]).saturations
        if say is not None and done % 500 == 0:
            say(done, len(order))
    host.apply()
    seconds = time.perf_counter() - start
    return Learnt(before, accuracy(host, prepared.test), len(order), seconds, saturations)


def accuracy(host: HostModel, samples: Labelled) -> float:
    """In %."""
    found = [int(host.infer(x).argmax()) for x in samples.x]
    return 100 * float(np.mean(np.array(found) == samples.y))
