"""A small generated model and its firmware, built once for all tests of the build."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.devices.learner import Learner, make_learner
from tinykit.boards import load_board
from tinykit.build import Firmware, build_firmware
from tinykit.build.compilers import find_compiler
from tinykit.errors import BuildError

Build = Callable[..., Firmware]


@pytest.fixture(scope="session")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    return make_learner(tmp_path_factory.mktemp("learner"))


@pytest.fixture(scope="session")
def only_infers(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    return make_learner(tmp_path_factory.mktemp("fixed"), trains=False, name="fixed")


@pytest.fixture(scope="session")
def build(
    learner: Learner, only_infers: Learner, tmp_path_factory: pytest.TempPathFactory
) -> Build:
    """Firmware by board, compiler ("" or "zig") and model, each built once."""
    built: dict[tuple[str, str, bool], Firmware] = {}

    def make(board: str = "mps2_an386", toolchain: str = "", trains: bool = True) -> Firmware:
        try:
            find_compiler(toolchain)
        except BuildError as error:
            pytest.skip(error.message)
        key = (board, toolchain, trains)
        if key not in built:
            model = learner if trains else only_infers
            work = tmp_path_factory.mktemp("-".join(map(str, key)))
            built[key] = build_firmware(
                model.generated, load_board(board), work, toolchain=toolchain
            )
        return built[key]

    return make
