"""Bisection over the trace, on two sides that are only as long as they need to be."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinykit.verify.locate import first_differing
from tinykit.verify.reference import Outcome, Sample
from tinykit.verify.result import count_bits

SAMPLE = Sample(np.zeros(1, np.int8), 0)


@dataclass(frozen=True)
class Op:
    index: int
    name: str = "op"
    kind: str = "conv2d"
    phase: str = "forward"
    layer: str = "layer"


@dataclass
class Side:
    """Outputs one byte per operator; from operator `wrong` on they are other ones."""

    wrong: int | None = None
    runs: int = 0

    def run(self, sample: Sample, last: int) -> Outcome:
        self.runs += 1
        crc = 0
        for index in range(last + 1):
            damaged = self.wrong is not None and index >= self.wrong
            crc = zlib.crc32(bytes([index % 256, damaged]), crc)
        return Outcome((), crc)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_the_first_wrong_operator_is_found_in_few_probes(case: tuple[int, int]) -> None:
    count, wrong = case
    device, host, restored = Side(wrong), Side(), []
    ops = [Op(index) for index in range(count)]
    found = first_differing(device, host, SAMPLE, ops, lambda: restored.append(1))  # type: ignore[arg-type]
    assert found is not None
    assert found.index == wrong
    assert device.runs == host.runs == len(restored) <= math.ceil(math.log2(count)) + 1


def test_what_does_not_differ_is_not_found() -> None:
    ops = [Op(index) for index in range(5)]
    assert first_differing(Side(), Side(), SAMPLE, ops, lambda: None) is None  # type: ignore[arg-type]
    assert first_differing(Side(0), Side(), SAMPLE, [], lambda: None) is None  # type: ignore[arg-type]


@dataclass(frozen=True)
class Tensor:
    name: str
    layer: str
    offset: int
    bytes: int


@given(st.binary(min_size=12, max_size=12), st.sets(st.integers(0, 95)))
def test_bits_are_counted_where_they_are(block: bytes, flipped: set[int]) -> None:
    tensors = (Tensor("a", "x", 0, 4), Tensor("b", "y", 4, 1), Tensor("c", "y", 6, 6))
    other = bytearray(block)
    for bit in flipped:
        other[bit // 8] ^= 1 << bit % 8
    found = count_bits(tensors, bytes(other), block)
    for tensor, bits in zip(tensors, found, strict=True):
        inside = [b for b in flipped if tensor.offset <= b // 8 < tensor.offset + tensor.bytes]
        assert (bits.name, bits.layer, bits.bits) == (tensor.name, tensor.layer, 8 * tensor.bytes)
        assert bits.differing == len(inside)
