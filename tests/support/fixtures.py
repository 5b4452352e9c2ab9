"""Kernels shared by the tests of all operators."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.support.kernels import Kernels, SanitizedKernels, build


@pytest.fixture(scope="session")
def kernels() -> Kernels:
    """The C kernels in this process."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    return Kernels(build(sanitize=False))


@pytest.fixture(scope="session")
def sanitized_kernels() -> Iterator[SanitizedKernels]:
    """The C kernels under address and undefined-behaviour sanitizers."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    worker = SanitizedKernels()
    yield worker
    worker.close()
