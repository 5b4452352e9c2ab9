"""Where each buffer lies: offsets such that buffers needed at the same time never overlap.

First fit over several orders (by size, by time, by length of life), then a seeded local search
that moves the buffers which touch the top forward in the order; it ends when the liveness bound
is reached.  Compare Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net
Inference", 2020.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from tinykit.schedule.liveness import Buffer, peak

SEARCH_ROUNDS = 400

Offsets = dict[int, int]  # index of the buffer -> offset in bytes


def _first_fit(
    found: Sequence[Buffer], order: Sequence[int], pinned: Mapping[int, int]
) -> tuple[int, Offsets]:
    offsets: Offsets = dict(pinned)
    for index in order:
        if index in offsets:
            continue
        buffer = found[index]
        busy = sorted(
            (offset, offset + found[other].bytes)
            for other, offset in offsets.items()
            if buffer.overlaps(found[other])
        )
        place = 0
        for low, high in busy:
            if place + buffer.bytes <= low:
                break
            place = max(place, high)
        offsets[index] = place
    return max((o + found[i].bytes for i, o in offsets.items()), default=0), offsets


def place(found: Sequence[Buffer], pinned: Mapping[str, int]) -> dict[str, int]:
    """Offsets in bytes by name of tensor or scratch; `pinned` names have theirs given."""
    fixed = {i: pinned[n] for i, b in enumerate(found) for n in b.names if n in pinned}
    keys: list[Callable[[int], tuple[int, ...]]] = [
        lambda i: (-found[i].bytes, found[i].first),
        lambda i: (found[i].first, -found[i].bytes),
        lambda i: (-(found[i].last - found[i].first), -found[i].bytes),
        lambda i: (-found[i].bytes * (found[i].last - found[i].first + 1),),
    ]
    indices = range(len(found))
    orders = [sorted(indices, key=key) for key in keys]
    results = [(*_first_fit(found, order, fixed), order) for order in orders]
    best_bytes, best, order = min(results, key=lambda result: result[0])
    bound = peak(list(found))

    generator = random.Random(0)
    for _ in range(SEARCH_ROUNDS if found else 0):
        if best_bytes <= bound:
            break
        top = [i for i in indices if best[i] + found[i].bytes == best_bytes]
        trial = list(order)
        trial.remove(moved := generator.choice(top))
        trial.insert(generator.randrange(len(order)), moved)
        a, b = generator.randrange(len(order)), generator.randrange(len(order))
        trial[a], trial[b] = trial[b], trial[a]
        size, offsets = _first_fit(found, trial, fixed)
        if size <= best_bytes:
            best_bytes, best, order = size, offsets, trial
    return {name: best[i] for i, buffer in enumerate(found) for name in buffer.names}
