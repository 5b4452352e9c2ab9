"""Where the files that are not Python live: firmware/, boards/, examples/.

In a wheel they are inside the package (tinykit/_resources); in a checkout they are its top level.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource_path(name: str) -> Path:
    """The folder `name` ("firmware", "boards" or "examples") of this installation."""
    packaged = _PACKAGE / "_resources" / name
    return packaged if packaged.exists() else _PACKAGE.parent / name
