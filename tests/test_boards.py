"""Boards: manifests say what the emulated and real parts have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tinykit.boards import list_boards, load_board
from tinykit.errors import UsageError

BOARDS = {
    # name: (SRAM, flash, -mcpu); RM0090 for the F405's main SRAM, RM0385 for the F746
    "mps2_an385": (256 << 10, 1 << 20, "cortex-m3"),
    "mps2_an385_m0plus": (256 << 10, 1 << 20, "cortex-m0plus"),
    "mps2_an386": (256 << 10, 1 << 20, "cortex-m4"),
    "mps2_an500": (256 << 10, 1 << 20, "cortex-m7"),
    "mps3_an547": (256 << 10, 512 << 10, "cortex-m55"),
    "netduinoplus2": (128 << 10, 1 << 20, "cortex-m4"),
    "stm32f746": (320 << 10, 1 << 20, "cortex-m7"),
}


def test_list_names_every_board_with_its_memories() -> None:
    found = {board.name: (board.sram, board.flash, board.cpu) for board in list_boards()}
    assert found == BOARDS


@pytest.mark.parametrize("name", ["mps2-an386", "MPS2_AN386", "mps2_an386"])
def test_name_with_dashes_or_capitals(name: str) -> None:
    assert load_board(name).name == "mps2_an386"


def test_wrong_name_gets_the_nearest_and_the_list() -> None:
    with pytest.raises(UsageError) as caught:
        load_board("stm32f764")
    assert caught.value.exit_code == 2
    assert "stm32f764" in caught.value.message
    assert "did you mean `stm32f746`?" in caught.value.hint
    assert "netduinoplus2" in caught.value.hint


def test_own_manifest_by_path(tmp_path: Path) -> None:
    text = load_board("netduinoplus2").manifest.read_text()
    (tmp_path / "mine.json").write_text(text.replace("Netduino Plus 2", "Mine"))
    board = load_board(str(tmp_path / "mine.json"))
    assert (board.name, board.sram, board.title[:4]) == ("mine", 128 << 10, "Mine")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data["tinykit"].pop("sram"), "'sram' is missing"),
        (lambda data: data["tinykit"]["sram"].update(origin="here"), "invalid literal"),
    ],
)
def test_damaged_manifest_is_one_line(tmp_path: Path, damage: object, message: str) -> None:
    data = json.loads(load_board("netduinoplus2").manifest.read_text())
    damage(data)  # type: ignore[operator]
    (tmp_path / "bad.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match=message) as caught:
        load_board(str(tmp_path / "bad.json"))
    assert "bad.json" in caught.value.message
    assert "\n" not in caught.value.message


def test_no_json_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UsageError, match="not a board manifest"):
        load_board(str(tmp_path / "bad.json"))
    with pytest.raises(UsageError, match="no such board manifest"):
        load_board(str(tmp_path / "none.json"))


def test_budget_cannot_exceed_the_machine() -> None:
    board = load_board("netduinoplus2")
    assert replace(board, sram=64 << 10).sram == 64 << 10
    with pytest.raises(UsageError, match="SRAM is not possible"):
        replace(board, sram=256 << 10)


def test_renode_descriptions_in_this_package_exist() -> None:
    for board in list_boards():
        assert board.renode is not None
        if not board.renode.platform.startswith("platforms/"):  # those are Renode's own
            assert Path(board.renode.platform).is_file()
