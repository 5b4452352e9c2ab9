"""What a plan search has found out so far, kept in a file: it goes on where it was stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

import tinykit
from tinykit.errors import PlanError
from tinykit.ir import Array, Graph
from tinykit.ops.target import Target
from tinykit.training.contribution import LayerContribution, Progress, analyse
from tinykit.training.plan import Plan, Training
from tinykit.training.search import Cost


@dataclass
class Kept:
    """Contributions of a graph's layers for some samples, and costs of plans; both as found."""

    path: Path
    identity: str
    graph: Graph
    samples: Array
    targets: Sequence[Target]
    training: Training
    layers: dict[str, LayerContribution] = field(default_factory=dict)
    costs: dict[str, Cost | None] = field(default_factory=dict)  # None: the plan cannot be

    @classmethod
    def open(
        cls,
        path: Path,
        graph: Graph,
        samples: Array | None,
        targets: Sequence[Target] | None,
        training: Training | None = None,
    ) -> Kept:
        """What `path` holds for this graph and these samples; nothing where it holds another's.

        Raises PlanError without samples.
        """
        if samples is None or targets is None or not len(samples):
            raise PlanError(
                "a plan is searched for on your data, and the project names none",
                "add [data] to tinykit.toml, or `tinykit plan --write FILE` for a simple plan",
            )
        digest = hashlib.sha256(tinykit.__version__.encode())
        for op in graph.ops:
            digest.update(repr(op).encode())
        for tensor in graph.tensors.values():
            if tensor.constant:
                digest.update(np.ascontiguousarray(tensor.value).tobytes())
        digest.update(np.ascontiguousarray(samples).tobytes())
        digest.update(np.array(targets).tobytes() + repr(training).encode())
        kept = cls(path, digest.hexdigest(), graph, samples, targets, training or Training())
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            data = json.loads(path.read_text())
            if data["identity"] == kept.identity:
                kept.layers = {
                    name: LayerContribution(bias, tuple(channels))
                    for name, (bias, channels) in data["layers"].items()
                }
                kept.costs = {key: cost and Cost(**cost) for key, cost in data["costs"].items()}
        return kept

    def contributions(self, progress: Progress | None = None) -> Mapping[str, LayerContribution]:
        """Of all layers that can learn."""
        if not self.layers:
            self.layers = dict(
                analyse(self.graph, self.samples, self.targets, self.training, progress)
            )
            self._save()
        return self.layers

    def cost(self, plan: Plan, board: str, measure: Callable[[Plan], Cost]) -> Cost:
        """The cost of a plan on a board. Raises PlanError."""
        key = hashlib.sha256(
            f"{board} {plan.model_dump_json(exclude={'name'})}".encode()
        ).hexdigest()
        if key not in self.costs:
            try:
                self.costs[key] = measure(plan)
            except PlanError:
                self.costs[key] = None
            self._save()
        found = self.costs[key]
        if found is None:
            raise PlanError("such a plan cannot be")
        return found

    def _save(self) -> None:
        data = {
            "identity": self.identity,
            "layers": {name: [found.bias, found.channels] for name, found in self.layers.items()},
            "costs": {key: cost and asdict(cost) for key, cost in self.costs.items()},
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = self.path.with_suffix(".new")
        whole.write_text(json.dumps(data))
        whole.replace(self.path)
