"""The verbs, in the order in which a project uses them; `tinykit --help` lists them so."""

from __future__ import annotations

from collections.abc import Callable

from tinykit.cli.doctor import doctor
from tinykit.cli.new import new

VERBS: dict[str, Callable[..., None]] = {
    "new": new,
    "doctor": doctor,
}
