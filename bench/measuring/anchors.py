"""What inference is measured against: CMSIS-NN's counts, and the bars that kernels must reach.

CMSIS-NN 99f736a, -O3, gcc 12.2, bit-exact with TensorFlow Lite Micro, counted on the same QEMU
machines. M0+ is ARMv6-M code on the M3's machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.measuring.inference import Measured
from bench.measuring.models import MLPERF_TINY

# instructions of one inference, by GCC's name of the core, in the order of MLPERF_TINY
CMSIS_NN = {
    "cortex-m0plus": (29_000_000, 97_600_000, 86_900_000, 1_760_000),
    "cortex-m3": (10_540_000, 41_750_000, 32_070_000, 953_000),
    "cortex-m4": (7_840_000, 29_870_000, 24_710_000, 580_000),
    "cortex-m7": (7_760_000, 29_930_000, 24_480_000, 580_000),
    "cortex-m33": (7_800_000, 29_930_000, 24_530_000, 580_000),
    "cortex-m55": (1_780_000, 4_810_000, 6_430_000, 283_000),
}

Figure = Callable[[Measured], int | None]


@dataclass(frozen=True)
class Bar:
    """A figure must not exceed `most`; `aim` is where it should go. In the order of MLPERF_TINY."""

    core: str
    what: str
    figure: Figure
    most: tuple[int, ...]
    aim: tuple[int, ...] | None


_M55 = CMSIS_NN["cortex-m55"]


def _share(parts: Sequence[float]) -> tuple[int, ...]:
    return tuple(round(part * count) for part, count in zip(parts, _M55, strict=True))


BARS = (
    Bar("cortex-m4", "instructions", lambda m: m.instructions,
        (5_100_000, 19_400_000, 9_900_000, 410_000), (4_400_000, 16_000_000, 7_900_000, 370_000)),
    Bar("cortex-m4", "cycles", lambda m: m.cycles,
        (6_000_000, 22_000_000, 11_500_000, 490_000),
        (5_180_000, 19_800_000, 10_700_000, 490_000)),
    Bar("cortex-m4", "sram_bytes", lambda m: m.memory.sram, (9_000, 24_576, 40_960, 2_000), None),
    Bar("cortex-m4", "flash_code_bytes", lambda m: m.memory.flash_code, (14 << 10,) * 4,
        (9 << 10,) * 4),
    Bar("cortex-m0plus", "instructions", lambda m: m.instructions,
        (19_000_000, 63_000_000, 39_000_000, 1_200_000),
        (15_000_000, 52_000_000, 30_000_000, 1_050_000)),
    Bar("cortex-m55", "instructions", lambda m: m.instructions, _share((1.0, 1.0, 0.6, 1.0)),
        _share((0.8, 0.8, 0.45, 0.8))),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """A bar held against one model."""

    model: str
    what: str
    found: int | None
    most: int
    aim: int | None

    @property
    def met(self) -> bool:
        """Whether the figure is no higher than the bar."""
        return self.found is not None and self.found <= self.most


def cmsis_nn(cpu: str, model: str) -> int | None:
    """CMSIS-NN's instructions for one of MLPERF_TINY; None where there is no figure."""
    counts = CMSIS_NN.get(cpu)
    return counts[list(MLPERF_TINY).index(model)] if counts and model in MLPERF_TINY else None


def verdicts(cpu: str, results: Sequence[Measured]) -> list[Verdict]:
    """Every bar there is for the core and the models."""
    found = []
    for bar in BARS:
        for result in results:
            if bar.core == cpu and result.name in MLPERF_TINY:
                index = list(MLPERF_TINY).index(result.name)
                aim = bar.aim[index] if bar.aim else None
                found.append(
                    Verdict(result.name, bar.what, bar.figure(result), bar.most[index], aim)
                )
    return found
