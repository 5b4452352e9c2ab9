"""How a command of bench ends when it cannot measure."""

from __future__ import annotations

import sys

from tinykit.errors import TinykitError


def failed(error: TinykitError | KeyboardInterrupt) -> int:
    """The exit code; an error's one line goes to stderr."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    hint = f" ({error.hint})" if error.hint else ""
    print(f"error: {error.message}{hint}", file=sys.stderr)
    return error.exit_code
