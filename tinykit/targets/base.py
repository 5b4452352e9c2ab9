"""What every target has in common: it starts, it has a URL, it goes away again."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from tinykit.errors import LinkError, TargetError


class Target(ABC):
    """Firmware running somewhere, reachable at a pyserial URL. Use it as a context manager.

    When the link breaks because the target died, the reason that the target gives replaces the
    link's own error.
    """

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the firmware's serial port is, for `serial.serial_for_url` and `Client`."""

    @abstractmethod
    def close(self) -> None:
        """Ends whatever was started. Closing twice is no error."""

    def failure(self) -> str:
        """One line on why the target died; "" while it lives."""
        return ""

    def instructions(self) -> list[int]:
        """Instructions of each inference and training step so far, in order.

        Empty unless the target was opened with `count_instructions`.
        """
        return []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failure = ""
        if isinstance(error, LinkError):
            time.sleep(0.2)  # its port goes a moment before a process is seen to have ended
            failure = self.failure()
        self.close()
        if failure:
            raise TargetError(failure) from error
