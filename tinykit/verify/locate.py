"""Which operator differs first: bisection with the running checksum of the layer trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinykit.verify.reference import DeviceSide, HostSide, OpLike, Sample
from tinykit.verify.result import Location


def first_differing(
    device: DeviceSide,
    host: HostSide,
    sample: Sample,
    ops: Sequence[OpLike],
    restore: Callable[[], None],
) -> Location | None:
    """The first of `ops` whose output differs when both sides run `sample` from the same state.

    `restore` puts both sides back into the state before the run; it is called before each probe.
    The checksum runs over the outputs of the operators 0 … n, so it differs for every n from the
    first wrong operator on, and ceil(log2(ops)) + 1 probes find that one. None: the run does not
    differ from this state.
    """

    def differs(last: int) -> bool:
        restore()
        return device.run(sample, last).trace != host.run(sample, last).trace

    if not ops or not differs(len(ops) - 1):
        return None
    low, high = 0, len(ops) - 1  # the first wrong one is in low … high
    while low < high:
        middle = (low + high) // 2
        if differs(middle):
            high = middle
        else:
            low = middle + 1
    op = ops[low]
    return Location(op.index, op.name, op.kind, op.phase, op.layer)
