"""From a graph to a program: the order of its ops and the place of every buffer in the arena."""

from tinykit.schedule.program import Placement, Program, schedule

__all__ = ["Placement", "Program", "schedule"]
