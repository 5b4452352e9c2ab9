"""The example's modules lie in its own folder and are imported by their plain names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gesture_personalization"
MODULES = ("data", "model", "factory", "session", "demo")


@pytest.fixture(scope="session")
def gesture() -> Iterator[SimpleNamespace]:
    """gesture.data, gesture.factory, …: the example's modules; gesture.folder: where they are."""
    pytest.importorskip("rich")
    sys.path.insert(0, str(EXAMPLE))
    try:
        found: dict[str, ModuleType] = {name: importlib.import_module(name) for name in MODULES}
        yield SimpleNamespace(folder=EXAMPLE, **found)
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="session")
def recordings(gesture: SimpleNamespace) -> None:
    """Skips where the data set is not installed."""
    if importlib.util.find_spec("seglearn") is None:
        pytest.skip("the recordings are not installed: pip install seglearn==1.2.5")
