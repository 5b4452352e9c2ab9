"""Fixtures for tests that need a device. Import what is needed in a conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.devices.learner import Learner, make_learner
from tests.devices.scratch import Scratch, build_device, write_scratch
from tests.devices.wire import Device, Wire
from tinykit.boards import Board


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Scratch]:
    """Hand-written models, each written once: see write_scratch."""
    made: dict[str, Scratch] = {}

    def make(**options: object) -> Scratch:
        key = repr(sorted(options.items()))
        if key not in made:
            made[key] = write_scratch(tmp_path_factory.mktemp("scratch"), **options)  # type: ignore[arg-type]
        return made[key]

    return make


@pytest.fixture(scope="session")
def programs(models: Callable[..., Scratch]) -> Callable[..., Path]:
    """Device programs, each built once: options of build_device and write_scratch."""
    built: dict[str, Path] = {}

    def build(*, trace: bool = True, payload: int = 512, **options: object) -> Path:
        key = repr((trace, payload, sorted(options.items())))
        if key not in built:
            built[key] = build_device(models(**options), trace=trace, payload=payload)
        return built[key]

    return build


@pytest.fixture
def wire(programs: Callable[..., Path]) -> Iterator[Wire]:
    """The training scratch model, running, behind a wire without faults."""
    with Wire(Device(programs())) as it:
        yield it


@pytest.fixture(scope="session")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    """A small generated model that learns."""
    return make_learner(tmp_path_factory.mktemp("learner"))


@pytest.fixture(scope="session")
def firmware(
    learner: Learner, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Path, Board]]:
    """The learner's firmware for a board, each built once: (ELF file, board)."""
    built: dict[tuple[str, bool], tuple[Path, Board]] = {}

    def build(board: str = "mps2_an386", *, trace: bool = True) -> tuple[Path, Board]:
        if (board, trace) not in built:
            work = tmp_path_factory.mktemp(f"{board}-{trace}")
            built[board, trace] = learner.firmware(board, work, trace=trace)
        return built[board, trace]

    return build
