"""tinykit.toml: what is accepted, and that every mistake is named with its place and way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinykit.config import FrontendSection, load_config, parse_config
from tinykit.errors import UsageError
from tinykit.frontend import AudioFrontend

WHOLE = """
[project]
name = "gesture"
[model]
path = "model.tflite"
[data]
loader = "data.py:load"
[plan]
path = "plan.toml"
[board]
name = "mps2-an500"
sram = "256KB"
flash = 1048576
[target]
name = "qemu"
[build]
trace = false
"""


def test_whole_file() -> None:
    config = parse_config(WHOLE)
    assert config.project.name == "gesture"
    assert config.model.path == "model.tflite"
    assert config.board.sram == 256 * 1024
    assert config.board.flash == 1 << 20
    assert config.target.name == "qemu"
    assert config.build.trace is False


def test_empty_file_gives_defaults() -> None:
    config = parse_config("")
    assert (config.target.name, config.board.name) == (None, "mps2_an386")


MISTAKES = [
    ("[model]\npth = 'x'", "tinykit.toml:2: [model] has no key `pth`", "did you mean `path`?"),
    ("[modl]\npath = 'x'", "tinykit.toml:1: tinykit.toml has no section `modl`", "`model`"),
    ("x = 1", "tinykit.toml:1: tinykit.toml has no section `x`", "project, model, data"),
    ("board.smar = 3", "tinykit.toml:1: [board] has no key `smar`", "`sram`"),
    ("\n[board]\n\nsram = '64 apples'", "tinykit.toml:4: [board] sram: ", "256KB"),
    ("[board]\nsram = -1", "tinykit.toml:2: [board] sram: ", "[board]"),
    ("[board]\nsram = true", "tinykit.toml:2: [board] sram: ", "[board]"),
    ("[project]\nname = '9 lives'", "tinykit.toml:2: [project] name: ", "[project]"),
    ("[target]\nname = 'qmu'", "tinykit.toml:2: [target] name: ", "[target]"),
    ("[build]\ntrace = 'yes'", "tinykit.toml:2: [build] trace: ", "[build]"),
    ("model = 3", "tinykit.toml:1: [model]: must be a table", "[model]"),
    ("[data]\nloader = 'a.py:f'\ntrain = 'x.npz'", "tinykit.toml:1: [data]: give either", "[data]"),
    ("[data]\nloader = 'load'", "tinykit.toml:2: [data] loader: ", "file.py:function"),
    ("[board]\nname = ", "tinykit.toml:2: not valid TOML", "quotes"),
    ("[board\n", "tinykit.toml:1: not valid TOML", ""),
    ("[board]\nname = [\n", "tinykit.toml:2: not valid TOML", ""),
]


@pytest.mark.parametrize(("text", "message", "hint"), MISTAKES)
def test_mistakes_name_place_and_way_out(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(text)
    assert caught.value.message.startswith(message)
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.exit_code == 2


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_config(tmp_path / "tinykit.toml")
    (tmp_path / "tinykit.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(tmp_path / "tinykit.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(tmp_path)


def test_a_head_is_a_table_of_its_own() -> None:
    head = parse_config("[model]\nhead = {classes = 3, grow_to = 5}\n").model.head
    assert head is not None
    assert (head.classes, head.outputs, head.names) == (3, 5, ())
    named = parse_config('[model.head]\nclasses = 2\nnames = ["a", "b"]\n').model.head
    assert named is not None
    assert named.names == ("a", "b")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("{}", "head.classes: field required"),
        ("{classes = 0}", "greater than or equal to 1"),
        ("{classes = 6, grow_to = 5}", "grows from 2 or more classes"),
        ('{classes = 3, names = ["a"]}', "3 outputs, but 1 names"),
        ("{classes = 3, sead = 2}", "has no key `sead`"),
    ],
)
def test_mistakes_in_a_head_are_one_line(head: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(f"[model]\nhead = {head}\n")
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith("tinykit.toml:2")


def test_keys_of_sound_have_the_defaults_of_its_frontend() -> None:
    """They stand twice: to read a configuration does not need the frontend, and NumPy with it."""
    own = {"multiplier", "divisor", "zero_point"}  # of the model's input, where it says them
    for name, field in AudioFrontend.__dataclass_fields__.items():
        if name not in own:
            assert FrontendSection.model_fields[name].default == field.default, name
