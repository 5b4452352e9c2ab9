"""A default update plan: the one that trains the most among a ladder of simple plans that fit.

The ladder says "biases of the last B layers, a fraction of the weights of the last W of them";
what pays most per byte is found by search on the user's data, not here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinykit.errors import DoesNotFitError, PlanError
from tinykit.ir import Graph
from tinykit.training.plan import Optimizer, Plan, Update, trainable_layers

SHARES = (1.0, 0.5, 0.25)  # of the layers, and of a layer's input channels


@dataclass(frozen=True)
class Rung:
    """A plan and the number of weights and biases that it trains."""

    plan: Plan
    trained: int


def ladder(graph: Graph, optimizer: Optimizer | None = None) -> list[Rung]:
    """Simple plans for the model, the one that trains the most first, the head alone last."""
    layers = trainable_layers(graph)
    if not layers:
        raise PlanError(f"{graph.name}: has no layer with weights, so nothing can learn")
    counts = sorted({max(1, round(share * len(layers))) for share in SHARES} | {1})
    rungs: dict[tuple[int, ...], Rung] = {}
    for biases in counts:
        for weighted in (count for count in counts if count <= biases):
            for share in SHARES if weighted > 1 else (1.0,):
                plan = _plan(biases, weighted, share, optimizer or Optimizer())
                rungs.setdefault((biases, weighted, int(share * 100)), _rung(graph, plan))
    return sorted(rungs.values(), key=lambda rung: -rung.trained)


def largest_that_fits(
    rungs: list[Rung],
    check: Callable[[Plan], None],
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """The first plan for which `check` does not raise DoesNotFitError or PlanError.

    Raises the last such error when no plan passes.
    """
    for index, rung in enumerate(rungs):
        if progress is not None:
            progress(index, len(rungs))
        try:
            check(rung.plan)
        except (DoesNotFitError, PlanError):
            if rung is rungs[-1]:
                raise
        else:
            return rung.plan
    raise PlanError("there is no plan to choose from")


def plan_text(plan: Plan) -> str:
    """The plan as the TOML file that a person edits."""
    optimizer = plan.optimizer
    lines = [
        "# Update plan: what learns on the device, and how. Checked by `tinykit plan`.",
        f'name = "{plan.name}"',
        "",
        "[optimizer]",
        *(f"{key} = {_value(getattr(optimizer, key))}" for key in type(optimizer).model_fields),
    ]
    sections = (("training", plan.training), ("replay", plan.replay), ("guard", plan.guard))
    for heading, section in sections:
        given = {} if section is None else section.model_dump(exclude_defaults=True)
        if given or (section is not None and section is plan.guard):
            lines += ["", f"[{heading}]", *(f"{key} = {_value(v)}" for key, v in given.items())]
    for update in plan.update:
        given = update.model_dump(exclude_defaults=True)
        lines += ["", "[[update]]", *(f"{key} = {_value(value)}" for key, value in given.items())]
    return "\n".join(lines) + "\n"


def _plan(biases: int, weighted: int, share: float, optimizer: Optimizer) -> Plan:
    updates = [Update(layers=f"last {biases}", bias=True)]
    if weighted > 1:
        updates.append(Update(layers=f"last {weighted}", weights=share))
    updates.append(Update(layers="head", bias=True, weights=1.0))
    name = f"biases-{biases}-weights-{weighted}-{round(100 * share)}"
    return Plan(name=name, optimizer=optimizer, update=tuple(updates))


def _rung(graph: Graph, plan: Plan) -> Rung:
    settled = plan.resolve(graph)
    trained = 0
    for op in trainable_layers(graph):
        choice = settled[op.name]
        weights = graph[op.inputs[1]]
        trained += weights.size // weights.shape[-1] * choice.channels
        trained += graph[op.inputs[2]].size if choice.bias else 0
    return Rung(plan, trained)


def _value(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + "}"
    return repr(value)
