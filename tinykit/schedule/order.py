"""The order of execution: any order that respects the data, chosen to lower the peak.

An op runs after the makers of what it reads, and an op that updates a parameter runs after all
readers of its old value.  A KEEP stays between the ops in front of it and those behind it.
"""

from __future__ import annotations

from dataclasses import replace

from tinykit.ir import Graph, Op
from tinykit.schedule.facts import scratch_bytes


def predecessors(graph: Graph) -> list[set[int]]:
    """For each op the indices of the ops that have to run before it."""
    maker = {name: i for i, op in enumerate(graph.ops) for name in op.outputs}
    readers: dict[str, list[int]] = {}
    for i, op in enumerate(graph.ops):
        for name in op.reads:
            readers.setdefault(name, []).append(i)
    before = [{maker[name] for name in op.reads if name in maker} for op in graph.ops]
    for i, op in enumerate(graph.ops):
        for name in op.updates:
            before[i].update(r for r in readers[name] if r != i)
        if op.kind == "keep":
            before[i].update(range(i))
            for later in before[i + 1 :]:
                later.add(i)
    return before


def greedy_order(graph: Graph) -> Graph:
    """Among the ops that can run, always the one that leaves the fewest bytes alive."""
    before = predecessors(graph)
    uses: dict[str, int] = {}
    for op in graph.ops:
        for name in op.reads:
            uses[name] = uses.get(name, 0) + 1
    for name in graph.outputs:
        uses[name] = uses.get(name, 0) + 1

    def growth(op: Op) -> tuple[int, int]:
        """(bytes that stay afterwards, bytes needed meanwhile) more than now."""
        made = sum(graph[name].bytes for name in op.outputs)
        freed = sum(
            graph[name].bytes
            for name in set(op.reads)
            if graph[name].storage == "arena" and uses[name] == op.reads.count(name)
        )
        return made - freed, made + scratch_bytes(graph, op)

    done: set[int] = set()
    waiting = list(range(len(graph.ops)))
    ordered: list[Op] = []
    while waiting:
        ready = [i for i in waiting if before[i] <= done]
        chosen = min(ready, key=lambda i: (*growth(graph.ops[i]), i))
        waiting.remove(chosen)
        done.add(chosen)
        ordered.append(graph.ops[chosen])
        for name in graph.ops[chosen].reads:
            uses[name] -= 1
    return replace(graph, ops=tuple(ordered))


def orders(graph: Graph) -> list[Graph]:
    """The orders to choose from: the given one and the greedy one, if that is another."""
    greedy = greedy_order(graph)
    return [graph] if greedy.ops == graph.ops else [graph, greedy]
