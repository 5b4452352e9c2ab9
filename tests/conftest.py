"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# PlatformIO asks nothing of the network, and colours don't depend on who runs the tests
os.environ.setdefault("PLATFORMIO_SETTING_ENABLE_TELEMETRY", "no")
os.environ.setdefault("PLATFORMIO_DISABLE_UPGRADE_CHECK", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.pop("FORCE_COLOR", None)

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("TINYKIT_SHARED") or ROOT.parent / "shared")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference models and data beside the checkout; skips where it isn't there."""
    if not (SHARED / "models").is_dir():
        pytest.skip("../shared with the reference models is not here")
    return SHARED
