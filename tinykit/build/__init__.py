"""From generated C to firmware: the PlatformIO project, sizes, the stack's bound, what fits."""

from tinykit.build.bounds import Bounds, MemoryPlan, check_fit, plan_memory
from tinykit.build.firmware import Firmware, build_firmware
from tinykit.build.size import SizeReport

__all__ = [
    "Bounds",
    "Firmware",
    "MemoryPlan",
    "SizeReport",
    "build_firmware",
    "check_fit",
    "plan_memory",
]
