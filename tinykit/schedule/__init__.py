"""From a graph to a program: the order of its ops, what streams, and the place of every buffer."""

from tinykit.schedule.planner import curve, instructions, schedule, schedule_both
from tinykit.schedule.program import Placement, Program
from tinykit.schedule.segments import Segment

__all__ = [
    "Placement",
    "Program",
    "Segment",
    "curve",
    "instructions",
    "schedule",
    "schedule_both",
]
