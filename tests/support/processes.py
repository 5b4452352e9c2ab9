"""Processes that tests start as a person would from a terminal."""

from __future__ import annotations

import signal


def heed_interrupts() -> None:
    """For Popen's preexec_fn: Ctrl-C interrupts, even if a shell put the tests in the background.

    Such a shell lets them ignore SIGINT, and what they start inherits that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
