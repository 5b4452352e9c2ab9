"""The most instructions that an inference can take, from what several very different inputs took.

An instruction that runs equally often for all of them depends on shapes alone. One that does not
lies behind a branch that data decides: a clamp, a saturation. It cannot run more often than control
comes to it, that is than all the instructions together that lead to it; so the bound goes back
along the machine code's control flow to what runs equally often. A loop whose count depends on data
has no such bound. What no input ran at all is taken to depend on shapes, too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from bench.measuring.counting import Layer, Run
from tinykit.build.image import Image
from tinykit.build.thumb import Flow, decode

Place = tuple[Layer, int]  # an instruction on behalf of a layer
LEAVES = (Flow.JUMP, Flow.RETURN, Flow.STOP)  # do not go on to what stands behind them
REACHES = (Flow.BRANCH, Flow.JUMP, Flow.CALL)


def worst_case(runs: Sequence[Run], image: Image) -> int | None:
    """A bound in instructions, None if there is none; if all runs took the same, what they took."""
    counts = [_executions(run, image) for run in runs]
    places = set().union(*counts)
    fixed = {p: counts[0][p] for p in places if all(c[p] == counts[0][p] for c in counts)}
    leading = _leading(places, image)
    bounds: dict[Place, int | None] = dict(fixed)

    def bound(place: Place) -> int | None:
        if place not in bounds:
            bounds[place] = None  # met again on the way back: a loop
            total = 0
            for before in leading[place]:
                most = bound(before)
                if most is None:
                    return None
                total += most
            bounds[place] = total
        return bounds[place]

    total = 0
    for place in sorted(places, key=str):
        most = bound(place)
        if most is None:
            return None
        total += most
    return total


def _executions(run: Run, image: Image) -> Counter[Place]:
    found: Counter[Place] = Counter()
    for block in run.blocks:
        address = block.address
        for _ in range(block.instructions):
            found[block.layer, address] += block.executed
            address += decode(image, address).size
    return found


def _leading(places: set[Place], image: Image) -> dict[Place, list[Place]]:
    """From which instructions control can come to one."""
    leading: dict[Place, list[Place]] = defaultdict(list)
    conditional = 0  # instructions that an IT still makes conditional
    for layer, address in sorted(places, key=lambda place: (str(place[0]), place[1])):
        instruction = decode(image, address)
        if instruction.flow not in LEAVES or conditional:
            leading[layer, address + instruction.size].append((layer, address))
        if instruction.flow in REACHES:
            leading[layer, instruction.target].append((layer, address))
        conditional = instruction.conditional or max(conditional - 1, 0)
    return leading
