"""The one exception tree. Every message is one line for the person who has to act on it.

A message says what was wrong and where (file, layer, tensor, port); `hint` says what to do next.
The CLI prints `error: message` and the hint, and leaves with `exit_code`.
"""

from __future__ import annotations


class TinykitError(Exception):
    """Something failed, or does not fit: exit code 1."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(TinykitError):
    """The command, the configuration or an argument is wrong: exit code 2."""

    exit_code = 2


class ModelError(TinykitError):
    """A model file, a graph or an operator cannot be used as it is."""


class PlanError(TinykitError):
    """An update plan does not match the model, or cannot be carried out."""


class DoesNotFitError(TinykitError):
    """The model with its plan needs more memory than the board's budget."""


class BuildError(TinykitError):
    """The compiler, the linker or PlatformIO failed, or the ELF is not what was planned."""


class TargetError(TinykitError):
    """A board or an emulator could not be started or reached."""


class LinkError(TinykitError):
    """The device and the host could not understand each other over the serial link."""


class VerifyError(TinykitError):
    """Device and host reference differ."""
