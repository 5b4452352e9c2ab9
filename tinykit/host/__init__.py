"""The reference that a device must equal: the same C, built for the host."""

from tinykit.host.library import HostModel, StepResult

__all__ = ["HostModel", "StepResult"]
