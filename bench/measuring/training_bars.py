"""What training is measured against: the released engine's figures, and the bars to reach.

TTE is the Tiny Training Engine's own C for MCUNet-5fps, scheme "49kb", Cortex-M7, gcc 12.2 -Ofast,
counted on the same QEMU machine. The paper is *On-Device Training Under 256KB Memory* (2022).
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.measuring.training import Trained

TTE_INSTRUCTIONS = 106_370_000
TTE_SRAM = 253_432  # bytes, stack included
TTE_FLASH = 663_720
OF_TTE = ("mcunet_5fps_10c", "mcunet-49kb", "cortex-m7")  # model, plan, core

# The paper's peak SRAM in KB with all layers trained, sparse, sparse and reordered; and ms a step
# on an STM32F746. One figure a network.
PAPER = {
    "mbv2": (2939, 335, 141, 373),
    "proxyless": (2745, 326, 135, 443),
    "mcunet": (3650, 560, 173, 546),
}


@dataclass(frozen=True)
class Bar:
    """A figure, and the range in which it must lie; `aim` says where it should go."""

    what: str
    found: float | None
    least: float | None
    most: float | None
    aim: float | None

    @property
    def met(self) -> bool:
        """Whether the figure lies in its range, ends included."""
        if self.found is None:
            return False
        low = self.least is None or self.found >= self.least
        return low and (self.most is None or self.found <= self.most)


def like_tte(result: Trained) -> bool:
    """Whether TTE's figures are of the same network, plan and core."""
    return (result.name, result.plan, result.board.cpu) == OF_TTE


def bars(result: Trained) -> list[Bar]:
    """All bars that there are for what was measured."""
    found = []
    if like_tte(result):
        memory = result.memory
        found += [
            Bar("instructions_per_step", result.instructions, None, 64_000_000, 45_000_000),
            Bar("sram_bytes", memory.sram, None, 131_072, 98_304),
            Bar("flash_bytes", memory.flash, None, 560_000, 540_000),
        ]
    low, high = result.gradients.ratios
    found += [
        Bar("min_gradient_cosine", result.gradients.min_cosine, 0.99, None, 0.999),
        Bar("min_norm_ratio", low, 0.98, None, None),
        Bar("max_norm_ratio", high, None, 1.02, None),
    ]
    if result.drift is not None:
        found += [
            Bar("weight_drift", result.drift.worst, -0.01, 0.01, None),
            Bar("mean_weight_move", result.drift.move, 0.1, None, None),
        ]
    return [*found, Bar("host_equals_device", int(result.verified.equal), 1, None, None)]
