"""C kernels for the tests of training."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterator

import pytest

from tests.support.kernels import build
from tests.support.training_kernels import Sanitized


@pytest.fixture(scope="session")
def sanitized() -> Iterator[Sanitized]:
    """The C kernels under address and undefined-behaviour sanitizers."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    worker = Sanitized()
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def sanitized_dsp() -> Iterator[Sanitized]:
    """The same with the code for cores with DSP instructions, emulated in C.

    Not with TK_PACKED_EMULATED, too: that is for cores without them, and reads other patches.
    """
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    worker = Sanitized(["TK_DSP_EMULATED=1"])
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def kernel_library() -> ctypes.CDLL:
    """The C runtime in this process."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    return ctypes.CDLL(str(build(sanitize=False)))
