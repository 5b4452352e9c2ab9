"""From generated C to firmware: the PlatformIO project, sizes, the stack's bound, what fits."""

from tinykit.build.firmware import Firmware, build_firmware
from tinykit.build.size import SizeReport

__all__ = ["Firmware", "SizeReport", "build_firmware"]
