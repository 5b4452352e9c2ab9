"""Damaged model files: an error line or a graph that runs; never a traceback, a hang or a crash.

    python -m tests.support.damage --files 10000 [--seed 0]      (or make fuzz DAMAGED=10000)

File n comes from seed n alone: a random graph of make fuzz, with one or two damages.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np

from tests.support.fuzz import candidates, sample
from tests.support.kernels import SanitizedKernels
from tinykit.errors import TinykitError
from tinykit.importers import load_model
from tinykit.ops.evaluate import evaluate
from tinykit.passes import simplify

SECONDS = 10  # far more than any file of this size needs, on a busy machine
DAMAGES = 25  # of each graph


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """One or two damages: bits, bytes, words, blocks, cuts."""
    data = bytearray(content)
    for _ in range(random.integers(1, 3)):
        at = int(random.integers(0, len(data)))
        kind = random.choice([0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 6, 7])
        if kind == 0:
            data[at] ^= 1 << random.integers(0, 8)
        elif kind == 1:
            data[at] = random.integers(0, 256)
        elif kind == 2:
            word = random.choice([0, 1, -1, 2**31 - 1, -(2**31), 2**16, -2, 255])
            data[at : at + 4] = struct.pack("<i", word)
        elif kind == 3:
            value = float(random.choice([0, -1, np.nan, np.inf, 1e-38, 1e38]))
            data[at : at + 4] = struct.pack("<f", value)
        elif kind == 4:
            del data[at : at + int(random.integers(1, 9))]
        elif kind == 5:
            data[at:at] = bytes(int(random.integers(1, 9)))
        elif kind == 6:
            source = int(random.integers(0, len(data)))
            data[at : at + 8] = data[source : source + 8]
        else:
            data = data[: max(at, 8)]
    return bytes(data)


def check(content: bytes, path: Path, kernels: SanitizedKernels) -> str:
    """Loads and, where that works, runs a file; returns what happened: "refused" or "runs"."""
    path.write_bytes(content)
    begun = time.monotonic()
    try:
        graph = load_model(path)
        simple = simplify(graph)
    except TinykitError as error:
        refusal: str | None = error.message
    else:
        refusal = None
    assert time.monotonic() - begun < SECONDS
    if refusal is not None:
        assert refusal.isprintable()
        return "refused"
    shape, dtype = graph[graph.inputs[0]].shape, np.dtype(graph[graph.inputs[0]].dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = np.random.default_rng(0).integers(low, high + 1, shape).astype(dtype)
    y = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    np.testing.assert_array_equal(evaluate(simple, {simple.inputs[0]: x})[simple.outputs[0]], y)
    np.testing.assert_array_equal(kernels.run(simple, x), y)
    return "runs"


@lru_cache(maxsize=2)
def _whole(number: int) -> bytes:
    return sample(candidates(), number).content


def damaged(number: int) -> bytes:
    """A random graph's file with damages."""
    return mutated(_whole(number // DAMAGES), np.random.default_rng(number))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000, help="how many (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first (default 0)")
    options = parser.parse_args()
    from rich.progress import track

    kernels, results = SanitizedKernels(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for number in track(range(options.seed, options.seed + options.files), "files"):
            try:
                result = check(damaged(number), Path(folder) / "damaged.tflite", kernels)
            except Exception as error:  # what must never come
                result = "fail"
                print(f"file {number}: {type(error).__name__}: {error}")
                print(f"  again: make fuzz DAMAGED=1 SEED={number}")
            results[result] += 1
    kernels.close()
    print(f"{options.files} files from seed {options.seed}: {results['refused']} refused, "
          f"{results['runs']} run, {results['fail']} fail")  # fmt: skip
    return int(results["fail"] > 0)


if __name__ == "__main__":
    sys.exit(main())
